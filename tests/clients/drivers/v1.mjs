// A driven client of the first SDK.

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

import { drive } from './driver.mjs'

await drive({
  Unauthorized: UnauthorizedError,
  open: ({ url, ...options }) => ({
    client: new Client({ name: 'driven', version: '1' }),
    transport: new StreamableHTTPClientTransport(url, options),
  }),
  call: (client, name, args) => client.callTool({ name, arguments: args }),
  finish: (transport, code) => transport.finishAuth(code),
})

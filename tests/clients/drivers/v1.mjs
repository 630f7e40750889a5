// A driven client of the first SDK.

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'

import { drive } from './driver.mjs'

await drive({
  Unauthorized: UnauthorizedError,
  open: ({ url, ...options }, mode, asked) => {
    const client = new Client({ name: 'driven', version: '1' }, { capabilities: asked?.capabilities ?? {} })
    if (asked) client.setRequestHandler(ElicitRequestSchema, asked.answer)
    return { client, transport: new StreamableHTTPClientTransport(url, options) }
  },
  call: (client, name, args) => client.callTool({ name, arguments: args }),
  finish: (transport, code) => transport.finishAuth(code),
})

// A driven client of the second SDK: `mode` is `legacy`, `auto` or `2026-07-28`.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client'

import { drive } from './driver.mjs'

await drive({
  Unauthorized: UnauthorizedError,
  open: ({ url, ...options }, mode, asked) => {
    const client = new Client(
      { name: 'driven', version: '1' },
      {
        versionNegotiation: { mode: mode === '2026-07-28' ? { pin: mode } : mode },
        capabilities: asked?.capabilities ?? {},
      },
    )
    if (asked) client.setRequestHandler('elicitation/create', asked.answer)
    return { client, transport: new StreamableHTTPClientTransport(url, options) }
  },
  listen: (client) => client.listen({ toolsListChanged: true }),
  call: (client, name, args) => client.callTool({ name, arguments: args }),
  finish: (transport, code, iss) => transport.finishAuth(code, iss),
})

// The shortest server of the SDK's own examples: Express with a route for POST alone, a session per `initialize`.
// GET and DELETE get what Express answers where it has no route: 404.

import { randomUUID } from 'node:crypto'

import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import * as types from '@modelcontextprotocol/sdk/types.js'

import * as chatter from './chatter.mjs'

const transports = new Map()
const app = createMcpExpressApp()

app.post('/mcp', async (request, response) => {
  const session = request.headers['mcp-session-id']
  let transport = transports.get(session)
  if (transport === undefined && session === undefined && types.isInitializeRequest(request.body)) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void transports.set(id, transport),
    })
    const server = new Server(chatter.INFO, { capabilities: { tools: {} } })
    server.setRequestHandler(types.ListToolsRequestSchema, () => ({ tools: chatter.TOOLS }))
    server.setRequestHandler(types.CallToolRequestSchema, ({ params }) => chatter.callTool(params, {}))
    await server.connect(transport)
  }
  if (transport === undefined) {
    const error = { code: -32000, message: 'Bad Request: No valid session ID provided' }
    return response.status(400).json({ jsonrpc: '2.0', error, id: null })
  }
  await transport.handleRequest(request, response, request.body)
})

chatter.announce(app)

// The chatter on the first SDK: revisions up to 2025-11-25. Arguments: `stateless`, `json`.

import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'

import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import * as types from '@modelcontextprotocol/sdk/types.js'

import * as chatter from './chatter.mjs'

const words = new Set(process.argv.slice(2))
const transports = new Map()

function peerOf(server, extra) {
  const { progressToken } = extra._meta ?? {}
  return {
    signal: extra.signal,
    async progress(progress, total, message) {
      if (progressToken === undefined) return
      const params = { progressToken, progress, total, message }
      await extra.sendNotification({ method: 'notifications/progress', params })
    },
    ask: () => extra.sendRequest({ method: 'elicitation/create', params: chatter.QUESTION }, types.ElicitResultSchema),
    sample: () =>
      extra.sendRequest({ method: 'sampling/createMessage', params: chatter.SAMPLING }, types.CreateMessageResultSchema),
    log: (level, data) => extra.sendNotification({ method: 'notifications/message', params: { level, data } }),
    changed: () => server.sendToolListChanged(),
    updated: (uri) => server.sendResourceUpdated({ uri }),
    hangUp: () => extra.closeSSEStream?.(),
  }
}

function makeServer() {
  const server = new Server(chatter.INFO, { capabilities: chatter.CAPABILITIES, instructions: 'Talk.' })
  const on = (schema, answer) => server.setRequestHandler(schema, answer)
  on(types.ListToolsRequestSchema, () => ({ tools: chatter.TOOLS }))
  on(types.CallToolRequestSchema, ({ params }, extra) => chatter.callTool(params, peerOf(server, extra)))
  on(types.ListResourcesRequestSchema, () => ({ resources: [chatter.RESOURCE] }))
  on(types.ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [chatter.TEMPLATE] }))
  on(types.ReadResourceRequestSchema, ({ params }) => {
    const found = chatter.readResource(params)
    if (found === undefined) throw new types.McpError(-32002, 'Resource not found', { uri: params.uri })
    return found
  })
  on(types.SubscribeRequestSchema, () => ({}))
  on(types.UnsubscribeRequestSchema, () => ({}))
  on(types.ListPromptsRequestSchema, () => ({ prompts: [chatter.PROMPT] }))
  on(types.GetPromptRequestSchema, ({ params }) => chatter.getPrompt(params))
  on(types.CompleteRequestSchema, ({ params }) => chatter.complete(params))
  return server
}

// Events by stream, for clients that come back.
class Events {
  #events = []

  async storeEvent(streamId, message) {
    this.#events.push({ streamId, message })
    return `${this.#events.length}`
  }

  async getStreamIdForEventId(eventId) {
    return this.#events[Number(eventId) - 1]?.streamId
  }

  async replayEventsAfter(lastEventId, { send }) {
    const { streamId } = this.#events[Number(lastEventId) - 1]
    for (const [index, event] of this.#events.entries()) {
      if (index >= Number(lastEventId) && event.streamId === streamId && Object.keys(event.message).length > 0) {
        await send(`${index + 1}`, event.message)
      }
    }
    return streamId
  }
}

async function open() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: words.has('stateless') ? undefined : randomUUID,
    enableJsonResponse: words.has('json'),
    eventStore: words.has('stateless') || words.has('json') ? undefined : new Events(),
    retryInterval: 200,
    onsessioninitialized: (id) => void transports.set(id, transport),
    onsessionclosed: (id) => void transports.delete(id),
  })
  await makeServer().connect(transport)
  return transport
}

function refuse(response, status, message) {
  const body = JSON.stringify({ jsonrpc: '2.0', error: { code: -32000, message }, id: null })
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(body)
}

chatter.announce(
  createServer(async (request, response) => {
    const session = request.headers['mcp-session-id']
    if (request.url !== '/mcp') return refuse(response, 404, 'Not found')
    if (session !== undefined && !transports.has(session)) return refuse(response, 404, 'Session not found')
    if (words.has('stateless') && request.method !== 'POST') return refuse(response, 405, 'Method not allowed.')
    const transport = transports.get(session) ?? (await open())
    await transport.handleRequest(request, response)
  }),
)

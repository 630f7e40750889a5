// The chatter on the second SDK: 2026-07-28, and the older revisions without sessions. Arguments: `strict` (2026-07-28
// alone), `sse` (always stream).

import { createServer } from 'node:http'
import { Readable } from 'node:stream'

import { createMcpHandler, inputRequired, ResourceNotFoundError, Server } from '@modelcontextprotocol/server'

import * as chatter from './chatter.mjs'

const words = new Set(process.argv.slice(2))

function peerOf(context, era) {
  const { mcpReq } = context
  const token = mcpReq._meta?.progressToken
  return {
    signal: mcpReq.signal,
    async progress(progress, total, message) {
      if (token === undefined) return
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken: token, progress, total, message } })
    },
    ask() {
      if (era === 'legacy') return mcpReq.elicitInput(chatter.QUESTION)
      const answer = mcpReq.inputResponses?.name
      return answer ?? inputRequired({ inputRequests: { name: inputRequired.elicit(chatter.QUESTION) }, requestState: 's1' })
    },
    sample: () => mcpReq.requestSampling(chatter.SAMPLING),
    log: (level, data) => mcpReq.log(level, data),
    changed: () => handler.notify.toolsChanged(),
    updated: (uri) => handler.notify.resourceUpdated(uri),
    hangUp() {},
  }
}

function makeServer({ era }) {
  const server = new Server(chatter.INFO, {
    capabilities: chatter.CAPABILITIES,
    instructions: 'Talk.',
    cacheHints: { 'tools/list': { ttlMs: 3_600_000, cacheScope: 'public' } },
  })
  const on = (method, answer) => server.setRequestHandler(method, answer)
  on('tools/list', () => ({ tools: chatter.TOOLS }))
  on('tools/call', ({ params }, context) => chatter.callTool(params, peerOf(context, era)))
  on('resources/list', () => ({ resources: [chatter.RESOURCE] }))
  on('resources/templates/list', () => ({ resourceTemplates: [chatter.TEMPLATE] }))
  on('resources/read', ({ params }) => {
    const found = chatter.readResource(params)
    if (found === undefined) throw new ResourceNotFoundError(params.uri)
    return found
  })
  on('prompts/list', () => ({ prompts: [chatter.PROMPT] }))
  on('prompts/get', ({ params }) => chatter.getPrompt(params))
  on('completion/complete', ({ params }) => chatter.complete(params))
  return server
}

const handler = createMcpHandler(makeServer, {
  legacy: words.has('strict') ? 'reject' : 'stateless',
  responseMode: words.has('sse') ? 'sse' : 'auto',
})

async function bodyOf(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return chunks.length === 0 ? undefined : Buffer.concat(chunks)
}

chatter.announce(
  createServer(async (request, response) => {
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    const answer = await handler.fetch(
      new Request(`http://${request.headers.host}${request.url}`, {
        method: request.method,
        headers: request.headers,
        body: await bodyOf(request),
        signal: gone.signal,
      }),
    )
    response.writeHead(answer.status, Object.fromEntries(answer.headers))
    response.flushHeaders()
    if (answer.body === null) response.end()
    else Readable.fromWeb(answer.body).on('error', () => response.destroy()).pipe(response)
  }),
)

// A server that talks back, whatever SDK serves it: its tools, resources and prompts, and what they remember.
//
// `peer` is what an SDK gives to a call: {progress, ask, sample, log, changed, updated, hangUp, signal}.

import { setTimeout as sleep } from 'node:timers/promises'

export const INFO = { name: 'chatter', version: '1.2.3' }
export const CAPABILITIES = {
  tools: { listChanged: true },
  resources: { subscribe: true, listChanged: true },
  prompts: { listChanged: true },
  completions: {},
  logging: {},
}

const KEY = { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] }
const NONE = { type: 'object', properties: {} }

export const TOOLS = [
  { name: 'echo', description: 'Say it again.', inputSchema: { type: 'object', properties: { value: {} } } },
  {
    name: 'route',
    description: 'Say where it went.',
    inputSchema: { type: 'object', properties: { region: { type: 'string', 'x-mcp-header': 'Region' } } },
  },
  { name: 'fail', description: 'Fail.', inputSchema: NONE, annotations: { readOnlyHint: true } },
  { name: 'steps', description: 'Half of it, and the rest after `proceed`.', inputSchema: KEY },
  { name: 'proceed', description: 'Let the steps of this key proceed.', inputSchema: KEY },
  { name: 'ask', description: 'Ask for a name.', inputSchema: NONE },
  { name: 'sample', description: 'Ask for a text.', inputSchema: NONE },
  { name: 'tell', description: 'Log something.', inputSchema: NONE },
  { name: 'change', description: 'Say that the tools have changed.', inputSchema: NONE },
  { name: 'touch', description: 'Say that the handbook has changed.', inputSchema: NONE },
  { name: 'wait', description: 'Wait to be cancelled, or for `proceed`.', inputSchema: KEY },
  { name: 'seen', description: 'What became of the waits of this key.', inputSchema: KEY },
  { name: 'drop', description: 'Close the stream before answering.', inputSchema: NONE },
]

export const RESOURCE = { uri: 'docs://handbook', name: 'handbook', mimeType: 'text/plain' }
export const TEMPLATE = { uriTemplate: 'docs://pages/{page}', name: 'page', mimeType: 'text/plain' }
export const PROMPT = {
  name: 'greeting',
  description: 'Greet a person.',
  arguments: [{ name: 'name', required: true }],
}
const NAMES = ['Ada', 'Adele', 'Grace']

export const QUESTION = {
  message: 'What is your name?',
  requestedSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
}
export const SAMPLING = {
  messages: [{ role: 'user', content: { type: 'text', text: 'Say something.' } }],
  maxTokens: 10,
}

const gates = new Map()
const waits = new Map()

function gate(key) {
  if (!gates.has(key)) {
    let open
    const opened = new Promise((resolve) => (open = resolve))
    gates.set(key, { open, opened })
  }
  return gates.get(key)
}

function counts(key) {
  if (!waits.has(key)) waits.set(key, { begun: 0, cancelled: 0 })
  return waits.get(key)
}

const text = (said) => ({ content: [{ type: 'text', text: said }] })

const HANDLERS = {
  echo: ({ value }) => ({ ...text(JSON.stringify(value ?? null)), structuredContent: { value } }),
  route: ({ region }) => text(`to ${region}`),
  fail: () => ({ ...text('it broke'), isError: true }),
  async steps({ key }, peer) {
    await peer.progress(1, 2, 'half')
    await gate(key).opened
    await peer.progress(2, 2, 'whole')
    return text('done')
  },
  proceed({ key }) {
    gate(key).open()
    return text('proceeding')
  },
  async ask(_, peer) {
    const asked = await peer.ask()
    return asked.resultType === 'input_required' ? asked : text(`${asked.action}: ${asked.content?.name ?? ''}`)
  },
  async sample(_, peer) {
    return text((await peer.sample()).content.text)
  },
  async tell(_, peer) {
    await peer.log('info', 'something happened')
    return text('notified')
  },
  async change(_, peer) {
    await peer.changed()
    return text('changed')
  },
  async touch(_, peer) {
    await peer.updated(RESOURCE.uri)
    return text('touched')
  },
  async wait({ key }, peer) {
    counts(key).begun += 1
    peer.signal.addEventListener('abort', () => (counts(key).cancelled += 1))
    await Promise.race([gate(key).opened, sleep(60_000, undefined, { signal: peer.signal })])
    return text('waited')
  },
  seen: ({ key }) => ({ ...text(JSON.stringify(counts(key))), structuredContent: counts(key) }),
  drop(_, peer) {
    peer.hangUp()
    return text('still here')
  },
}

export function callTool({ name, arguments: given }, peer) {
  const handler = Object.hasOwn(HANDLERS, name) ? HANDLERS[name] : () => ({ ...text('no such tool'), isError: true })
  return handler(given ?? {}, peer)
}

export function readResource({ uri }) {
  if (uri === RESOURCE.uri) return { contents: [{ uri, mimeType: 'text/plain', text: 'Everything here is invented.' }] }
  const page = /^docs:\/\/pages\/([a-z]+)$/.exec(uri)?.[1]
  return page === undefined ? undefined : { contents: [{ uri, mimeType: 'text/plain', text: `page ${page}` }] }
}

export function getPrompt({ arguments: given }) {
  return { messages: [{ role: 'user', content: { type: 'text', text: `Greet ${given.name}.` } }] }
}

export function complete({ argument }) {
  return { completion: { values: NAMES.filter((name) => name.startsWith(argument.value)), hasMore: false } }
}

// Serve requests until the process is killed, and say where.
export function announce(app) {
  const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/mcp`))
}

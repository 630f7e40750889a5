// What a client does with the chatter, step by step, and what came of it: one document that can be compared.
//
// `kit` hides what differs between the SDKs: {client, transport, call, subscribe, rejoin, era, logged, changes, updates}.

import { setTimeout as sleep } from 'node:timers/promises'

const VALUES = [
  'naïve ☕ 🦜 \u2028 \u0000 "quoted" \\ </script>',
  { nested: [1, 2.5, -0.001, 1e21, 9007199254740991, true, false, null, {}, []], '': 'empty name', ключ: 'значение' },
  'x'.repeat(300_000),
]

// An error without its words, which may differ.
const failed = (error) => ({ failed: { name: error.name, code: error.code ?? null } })

async function until(check) {
  for (let tries = 0; tries < 3000; tries += 1) {
    const found = await check()
    if (found) return found
    await sleep(20)
  }
  throw new Error('it did not happen')
}

const textOf = (result) => ({ text: result.content[0].text, isError: result.isError ?? false })

const STEPS = {
  async ping({ client }) {
    return await client.ping()
  },

  async tools({ client }) {
    const { tools } = await client.listTools()
    return tools.map(({ name, description, inputSchema, annotations }) => ({ name, description, inputSchema, annotations }))
  },

  async echo({ call }) {
    const results = await Promise.all(VALUES.map((value) => call('echo', { value })))
    return results.map(({ structuredContent, content: [{ text }] }, index) => ({
      same: JSON.stringify(structuredContent.value) === JSON.stringify(VALUES[index]),
      ...{ text: text.slice(0, 100), length: text.length },
    }))
  },

  // Clients of 2026-07-28 say this argument in a header, too.
  async route({ call }) {
    return textOf(await call('route', { region: 'östlich & x' }))
  },

  async fail({ call }) {
    return textOf(await call('fail', {}))
  },

  // The server says the rest only once the client has seen the half: a proxy that buffers waits for ever.
  async steps({ call }) {
    const seen = []
    const key = crypto.randomUUID()
    const onprogress = ({ progress, total, message }) => seen.push([progress, total, message])
    const result = call('steps', { key }, { onprogress })
    await until(() => seen.length === 1)
    await call('proceed', { key })
    return { ...textOf(await result), seen }
  },

  async ask({ call }) {
    return textOf(await call('ask', {}))
  },

  async sample({ call }) {
    return textOf(await call('sample', {}))
  },

  async logging({ client, call, logged }) {
    await client.setLoggingLevel('info')
    const result = await call('tell', {})
    await until(() => logged.length > 0)
    return { logged, ...textOf(result) }
  },

  // The stream of the server's own messages opens in parallel to the calls, so a first word may be too early.
  async change({ call, changes }) {
    await until(async () => {
      await call('change', {})
      await sleep(20)
      return changes.length > 0
    })
    return changes[0]
  },

  async cancel({ call }) {
    const key = crypto.randomUUID()
    const count = async () => (await call('seen', { key })).structuredContent
    const stop = new AbortController()
    const waiting = call('wait', { key }, { signal: stop.signal }).catch(failed)
    await until(async () => (await count()).begun === 1)
    stop.abort('no longer wanted')
    const outcome = await waiting
    await until(async () => (await count()).cancelled === 1)
    return { outcome, ...(await count()) }
  },

  async resources({ client }) {
    const { resources } = await client.listResources()
    const { resourceTemplates } = await client.listResourceTemplates()
    const { contents } = await client.readResource({ uri: 'docs://handbook' })
    const page = await client.readResource({ uri: 'docs://pages/one' })
    const missing = await client.readResource({ uri: 'docs://nothing' }).catch(failed)
    return { resources, resourceTemplates, contents, page: page.contents, missing }
  },

  async prompts({ client }) {
    const { prompts } = await client.listPrompts()
    const { messages } = await client.getPrompt({ name: 'greeting', arguments: { name: 'Ada' } })
    return { prompts, messages }
  },

  async completion({ client }) {
    const ref = { type: 'ref/prompt', name: 'greeting' }
    return (await client.complete({ ref, argument: { name: 'name', value: 'Ad' } })).completion
  },

  async updates({ call, subscribe, updates }) {
    const unsubscribe = await subscribe('docs://handbook')
    await until(async () => {
      await call('touch', {})
      await sleep(20)
      return updates.length > 0
    })
    await unsubscribe()
    return updates[0]
  },

  // The server closes the stream of the call; the answer is found by coming back with the last event's id.
  async resume({ call }) {
    const tokens = []
    const result = await call('drop', {}, { onresumptiontoken: (token) => tokens.push(token) })
    return { resumable: tokens.length > 0, ...textOf(result) }
  },

  // After the end of a session its id is refused.
  async end({ transport, rejoin }) {
    const session = transport.sessionId
    await transport.terminateSession()
    const client = await rejoin(session)
    const refused = await client.callTool({ name: 'fail', arguments: {} }).catch(failed)
    await client.close()
    return { kept: transport.sessionId ?? null, refused }
  },
}

// Connect, take these steps in order, and say what came of each.
export async function tour(connect, steps) {
  const kit = await connect()
  const { client } = kit
  const found = {
    connected: {
      era: kit.era(),
      server: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions(),
    },
  }
  for (const step of steps) {
    console.error(step) // said by the test when it takes too long
    found[step] = await STEPS[step](kit).catch(failed)
  }
  await client.close()
  return found
}

// Read what the test wants, take the tour at one target after the other, and print what was found at each.
export async function main(connect) {
  const { targets, mode, steps } = JSON.parse(process.argv[2])
  const found = []
  for (const target of targets) {
    console.error(target.url)
    found.push(await tour(() => connect(target, mode), steps))
  }
  process.stdout.write(JSON.stringify(found), () => process.exit(0))
}

export const person = {
  elicit: () => ({ action: 'accept', content: { name: 'Ada' } }),
  sample: () => ({ role: 'assistant', content: { type: 'text', text: 'Something.' }, model: 'none' }),
}

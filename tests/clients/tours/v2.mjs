// The tour with the second SDK's client: `mode` is `legacy`, `auto`, or the one revision that it speaks.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'

import { main, person } from './tour.mjs'

function travel(url, headers, options) {
  return new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers },
    reconnectionOptions: {
      initialReconnectionDelay: 10,
      maxReconnectionDelay: 100,
      reconnectionDelayGrowFactor: 1.5,
      maxRetries: 20,
    },
    ...options,
  })
}

function agreement(mode) {
  if (mode === '2026-07-28') return { versionNegotiation: { mode: { pin: mode } } }
  if (mode.startsWith('2025')) return { supportedProtocolVersions: [mode] }
  return { versionNegotiation: { mode } }
}

async function connect({ url, headers }, mode) {
  const client = new Client(
    { name: 'tourist', version: '1' },
    { capabilities: { elicitation: {}, sampling: {} }, ...agreement(mode) },
  )
  const transport = travel(url, headers)
  const [logged, changes, updates] = [[], [], []]
  client.setRequestHandler('elicitation/create', person.elicit)
  client.setRequestHandler('sampling/createMessage', person.sample)
  client.setNotificationHandler('notifications/message', ({ params }) => void logged.push(params))
  client.setNotificationHandler('notifications/tools/list_changed', ({ method }) => void changes.push(method))
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updates.push(params.uri))
  await client.connect(transport)
  return {
    ...{ client, transport, logged, changes, updates },
    era: () => client.getNegotiatedProtocolVersion(),
    call: (name, args, options) => client.callTool({ name, arguments: args }, options),
    async subscribe(uri) {
      if (client.getProtocolEra() === 'modern') return (await client.listen({ resourceSubscriptions: [uri] })).close
      await client.subscribeResource({ uri })
      return () => client.unsubscribeResource({ uri })
    },
    async rejoin(sessionId) {
      const again = new Client({ name: 'tourist', version: '1' })
      await again.connect(travel(url, headers, { sessionId, protocolVersion: client.getNegotiatedProtocolVersion() }))
      return again
    },
  }
}

await main(connect)

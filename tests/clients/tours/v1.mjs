// The tour with the first SDK's client, which speaks the revisions up to 2025-11-25.

import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import * as types from '@modelcontextprotocol/sdk/types.js'

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

async function connect({ url, headers }) {
  const client = new Client({ name: 'tourist', version: '1' }, { capabilities: { elicitation: {}, sampling: {} } })
  const transport = travel(url, headers)
  const [logged, changes, updates] = [[], [], []]
  client.setRequestHandler(types.ElicitRequestSchema, person.elicit)
  client.setRequestHandler(types.CreateMessageRequestSchema, person.sample)
  client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => void logged.push(params))
  client.setNotificationHandler(types.ToolListChangedNotificationSchema, ({ method }) => void changes.push(method))
  client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => void updates.push(params.uri))
  await client.connect(transport)
  return {
    ...{ client, transport, logged, changes, updates },
    era: () => transport.protocolVersion,
    call: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    async subscribe(uri) {
      await client.subscribeResource({ uri })
      return () => client.unsubscribeResource({ uri })
    },
    async rejoin(sessionId) {
      const again = new Client({ name: 'tourist', version: '1' })
      await again.connect(travel(url, headers, { sessionId }))
      return again
    },
  }
}

await main(connect)

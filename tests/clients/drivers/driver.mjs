// A scripted client: one command a line on standard input, one answer a line on standard output.
//
// `sdk` hides what differs between the SDKs: {open(options, mode, person), call(client, name, args), listen(client),
// Unauthorized, finish(transport, code, iss)}. With `elicits`, {capability, action}, a person answers every question.

import { createInterface } from 'node:readline'

// Signs in wherever it is sent: the authorization server asks no user and answers with a redirect, or a `browser` does
// what its pages ask for, and ends in that redirect.
class Person {
  redirectUrl = 'http://127.0.0.1:1/callback'
  clientMetadata = {
    client_name: 'driven client',
    redirect_uris: [this.redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  }
  logins = []
  #kept = {}
  #browser

  constructor(browser) {
    this.#browser = browser
  }

  clientInformation = () => this.#kept.client
  saveClientInformation = (client) => void (this.#kept.client = client)
  tokens = () => this.#kept.tokens
  saveTokens = (tokens) => void (this.#kept.tokens = tokens)
  // The authorization server no longer knows them: forget them, so that the next try is a login.
  invalidateCredentials = (kind) => void (kind === 'tokens' ? delete this.#kept.tokens : (this.#kept = {}))
  codeVerifier = () => this.#kept.verifier
  saveCodeVerifier = (verifier) => void (this.#kept.verifier = verifier)

  async redirectToAuthorization(url) {
    this.logins.push(url.searchParams.get('scope'))
    const target = this.#browser ? `${this.#browser}?to=${encodeURIComponent(url)}` : url
    const answer = await fetch(target, { redirect: 'manual' })
    this.answer = new URL(answer.headers.get('location')).searchParams
  }

  takeAnswer() {
    const { answer } = this
    this.answer = undefined
    return answer
  }
}

const failed = (error) => ({ failed: { name: error.name, code: error.code ?? null, message: error.message } })

export async function drive(sdk) {
  const { url, token, headers, mode, browser, elicits } = JSON.parse(process.argv[2])
  const questions = []
  const asked = elicits && {
    capabilities: { elicitation: elicits.capability },
    answer: async ({ params }) => {
      questions.push(params)
      return elicits.action === 'accept' && params.mode !== 'url' ? { action: 'accept', content: {} } : { action: elicits.action }
    },
  }
  const person = token === undefined ? new Person(browser) : undefined
  const requestInit = { headers: { ...headers, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) } }
  const answers = []
  const watched = async (target, init) => {
    const answer = await fetch(target, init)
    if (`${target}` === url) answers.push(await seen(answer.clone(), init))
    return answer
  }
  let client
  let transport
  let subscription

  async function open() {
    ;({ client, transport } = sdk.open({ url: new URL(url), requestInit, authProvider: person, fetch: watched }, mode, asked))
    try {
      await client.connect(transport)
    } catch (error) {
      if (!(await signedIn(error))) throw error
      return await open()
    }
  }

  // True if the error was a required sign-in, which has been done.
  async function signedIn(error) {
    const answer = error instanceof sdk.Unauthorized ? person?.takeAnswer() : undefined
    if (answer === undefined || !answer.has('code')) return false
    await sdk.finish(transport, answer.get('code'), answer.get('iss'))
    return true
  }

  async function call({ name, arguments: given }) {
    try {
      return await sdk.call(client, name, given)
    } catch (error) {
      if (!(await signedIn(error))) throw error
      return await sdk.call(client, name, given)
    }
  }

  const commands = {
    connect: open,
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    call,
    listen: async () => void (subscription = await sdk.listen(client)),
    ended: () => subscription.closed,
    questions: async () => questions.splice(0),
    look: async () => ({ logins: person?.logins ?? [], answers: answers.splice(0) }),
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, ...options } = JSON.parse(line)
    const found = await commands[command](options).then((done) => ({ done: done ?? null }), failed)
    console.log(JSON.stringify(found))
  }
  process.exit(0)
}

// The response, byte for byte; of a stream, which goes on, only the head.
async function seen(answer, { method, body }) {
  const media = answer.headers.get('content-type')
  const asked = method === 'POST' ? (JSON.parse(body).method ?? 'response') : method
  const streamed = media?.startsWith('text/event-stream')
  const whole = streamed ? null : Buffer.from(await answer.arrayBuffer()).toString('base64')
  return { asked, status: answer.status, media, body: whole }
}

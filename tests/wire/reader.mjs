// Reads documents, one a line in base64, as a server does that decodes UTF-8 and calls JSON.parse; answers one line
// each: a tree in which every value says what it is, or null for what is no document to it.
import { createInterface } from 'node:readline'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const bits = new DataView(new ArrayBuffer(8))

function tagged(value) {
  if (typeof value === 'number') {
    bits.setFloat64(0, value)
    return ['n', bits.getBigUint64(0).toString(16)]
  }
  if (typeof value === 'string') return ['s', value]
  if (Array.isArray(value)) return ['a', value.map(tagged)]
  if (value !== null && typeof value === 'object') {
    return ['o', Object.entries(value).map(([key, member]) => [key, tagged(member)])]
  }
  return ['c', value]
}

function read(line) {
  try {
    return { read: tagged(JSON.parse(utf8.decode(Buffer.from(line, 'base64')))) }
  } catch (error) {
    return { refused: error.name }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(read(line)) + '\n')
}

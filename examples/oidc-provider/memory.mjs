// Storage of the example, in memory: replace it by an adapter for your database.
const stored = new Map();

/** The grants of an account: [id, payload]. */
export const grantsOf = (account) =>
  [...stored].filter(([key, { accountId }]) => key.startsWith("Grant:") && accountId === account)
    .map(([key, payload]) => [key.slice("Grant:".length), payload]);

export class MemoryAdapter {
  constructor(model) {
    this.model = model;
  }
  async upsert(id, payload) {
    stored.set(`${this.model}:${id}`, payload);
  }
  async find(id) {
    return stored.get(`${this.model}:${id}`);
  }
  async findByUid(uid) {
    return [...stored.values()].find((payload) => payload.uid === uid && payload.kind === this.model);
  }
  async consume(id) {
    (await this.find(id)).consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) {
    stored.delete(`${this.model}:${id}`);
  }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of stored) if (payload.grantId === grantId) stored.delete(key);
  }
}

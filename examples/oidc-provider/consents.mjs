// Mirror the approvals of oidc-provider into the sidecar's store, as docs/layout.md describes the records.
//
//     new Provider(issuer, { adapter: mirrored(YourAdapter, store, resource), … })
//
// The provider waits for its adapter: the record is there before the client has its code, and a withdrawal, by
// whatever path the grant is destroyed, counts from the client's next call on.
import { createHash } from "node:crypto";

const digest = (...parts) => {
  const named = parts.map((part) => `${Buffer.byteLength(part)}:${part},`).join("");
  return createHash("sha256").update(named).digest("hex").slice(0, 32);
};

/** Write the consent of a user and client; without `scopes` it is revoked. `store` is a connected `redis` client. */
export async function write(store, account, client_id, scopes) {
  const names = { issuer: "main", account, subject: account, client_id }; // `main`: the issuer's `id` in config.yaml
  const [tag, consent] = [digest(names.issuer, account), digest(account, client_id)];
  const state = scopes ? { status: "granted", scopes } : { status: "revoked" };
  await store.hSet(`mcp:{${tag}}:consent:${consent}`, { ...names, ...state, at: (Date.now() / 1000).toFixed(3) });
  if (!scopes) await store.publish("mcp:revoked", `${tag} ${consent}`); // ends open streams at once
}

/** An adapter that also writes what becomes of grants for `resource`. */
export const mirrored = (Adapter, store, resource) =>
  class extends Adapter {
    constructor(model, ...more) {
      super(model, ...more);
      this.grants = model === "Grant";
    }
    async upsert(id, payload, expiresIn) {
      await super.upsert(id, payload, expiresIn);
      const scopes = this.grants && payload.resources?.[resource];
      if (scopes) await write(store, payload.accountId, payload.clientId, scopes);
    }
    async destroy(id) {
      const grant = this.grants && (await this.find(id));
      if (grant) await write(store, grant.accountId, grant.clientId, undefined);
      await super.destroy(id);
    }
  };

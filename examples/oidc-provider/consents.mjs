// Mirror the approvals of oidc-provider to the sidecar, by its admin API (docs/admin-api.md).
//
//     new Provider(issuer, { adapter: mirrored(YourAdapter, api, resource), … })
//
// The provider waits for its adapter: the record is there before the client has its code, and a withdrawal, by
// whatever path the grant is destroyed, counts from the client's next call on.

/** Tell the sidecar's admin API what a user has decided about a client; without `scopes` it is revoked. */
async function decide(api, account, client_id, scopes) {
  const decided = scopes ? { status: "granted", scopes } : { status: "revoked" };
  const answer = await fetch(`${api.url}/v1/consents`, {
    method: "POST",
    headers: { authorization: `Bearer ${api.token}`, "content-type": "application/json" },
    body: JSON.stringify({ account, subject: account, client_id, ...decided }),
    signal: AbortSignal.timeout(10_000),
  });
  if (!answer.ok) throw new Error(`the sidecar's admin API answers ${answer.status}: ${await answer.text()}`);
}

/** An adapter that also writes what becomes of grants for `resource`. */
export const mirrored = (Adapter, api, resource) =>
  class extends Adapter {
    constructor(model, ...more) {
      super(model, ...more);
      this.grants = model === "Grant";
    }
    async upsert(id, payload, expiresIn) {
      await super.upsert(id, payload, expiresIn);
      const scopes = this.grants && payload.resources?.[resource];
      if (scopes) await decide(api, payload.accountId, payload.clientId, scopes.split(" "));
    }
    async destroy(id) {
      const grant = this.grants && (await this.find(id));
      if (grant) await decide(api, grant.accountId, grant.clientId, undefined);
      await super.destroy(id);
    }
  };

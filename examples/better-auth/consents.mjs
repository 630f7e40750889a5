// Mirror the approvals of better-auth into the sidecar's store, as docs/layout.md describes the records.
//
//     betterAuth({ hooks: mirrored(store), … })
//
// The record is there before the client has its code, and a withdrawal counts from the client's next call on.
import { createHash } from "node:crypto";
import { APIError, createAuthMiddleware, getSessionFromCtx } from "better-auth/api";

const CONSENT = "oauthConsent";

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

const where = (fields) => Object.entries(fields).map(([field, value]) => ({ field, value }));

/** Hooks for approvals, changed approvals and withdrawals. */
export const mirrored = (store) => ({
  after: createAuthMiddleware(async (ctx) => {
    const approved = ctx.path === "/oauth2/consent" && ctx.body.accept;
    if ((!approved && ctx.path !== "/oauth2/update-consent") || ctx.context.returned instanceof APIError) return;
    const { user } = await getSessionFromCtx(ctx);
    const asked = { clientId: new URLSearchParams(ctx.body.oauth_query).get("client_id"), userId: user.id };
    const fields = approved ? asked : { id: ctx.body.id };
    const row = await ctx.context.adapter.findOne({ model: CONSENT, where: where(fields) });
    if (row) await write(store, row.userId, row.clientId, row.scopes.join(" "));
  }),
  before: createAuthMiddleware(async (ctx) => {
    if (ctx.path !== "/oauth2/delete-consent") return;
    const row = await ctx.context.adapter.findOne({ model: CONSENT, where: where({ id: ctx.body.id }) });
    if (!row || row.userId !== (await getSessionFromCtx(ctx))?.user.id) return;
    await write(store, row.userId, row.clientId, undefined);
    // A client that can refresh would never reach the login that cures the refusal.
    const tokens = where({ userId: row.userId, clientId: row.clientId });
    await ctx.context.adapter.deleteMany({ model: "oauthRefreshToken", where: tokens });
  }),
});

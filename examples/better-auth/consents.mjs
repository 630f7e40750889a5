// Mirror the approvals of better-auth to the sidecar, by its admin API (docs/admin-api.md).
//
//     betterAuth({ hooks: mirrored(api), … })
//
// The record is there before the client has its code, and a withdrawal counts from the client's next call on.
import { APIError, createAuthMiddleware, getSessionFromCtx } from "better-auth/api";

const CONSENT = "oauthConsent";

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

const where = (fields) => Object.entries(fields).map(([field, value]) => ({ field, value }));

/** Hooks for approvals, changed approvals and withdrawals. */
export const mirrored = (api) => ({
  after: createAuthMiddleware(async (ctx) => {
    const approved = ctx.path === "/oauth2/consent" && ctx.body.accept;
    if ((!approved && ctx.path !== "/oauth2/update-consent") || ctx.context.returned instanceof APIError) return;
    const { user } = await getSessionFromCtx(ctx);
    const asked = { clientId: new URLSearchParams(ctx.body.oauth_query).get("client_id"), userId: user.id };
    const fields = approved ? asked : { id: ctx.body.id };
    const row = await ctx.context.adapter.findOne({ model: CONSENT, where: where(fields) });
    if (row) await decide(api, row.userId, row.clientId, row.scopes);
  }),
  before: createAuthMiddleware(async (ctx) => {
    if (ctx.path !== "/oauth2/delete-consent") return;
    const row = await ctx.context.adapter.findOne({ model: CONSENT, where: where({ id: ctx.body.id }) });
    if (!row || row.userId !== (await getSessionFromCtx(ctx))?.user.id) return;
    await decide(api, row.userId, row.clientId, undefined);
    // A client that can refresh would never reach the login that cures the refusal.
    const tokens = where({ userId: row.userId, clientId: row.clientId });
    await ctx.context.adapter.deleteMany({ model: "oauthRefreshToken", where: tokens });
  }),
});

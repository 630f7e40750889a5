// An authorization server for one MCP server, made with oidc-provider; approvals are mirrored by consents.mjs.
//
//     npm install
//     RESOURCE=https://mcp.example.com/mcp API=http://127.0.0.1:9091 TOKEN=… node server.mjs
//
// One user, `ada`, whose password is PASSWORD. Everything is kept in memory: give it an adapter of your own, and keys
// (`jwks`) and `cookies.keys` that stay. It prints the issuer's URL.
import { createServer } from "node:http";
import Provider from "oidc-provider";

import { mirrored } from "./consents.mjs";
import { MemoryAdapter, grantsOf } from "./memory.mjs";

const { RESOURCE: resource, API: url, TOKEN: token, PASSWORD: password = "secret", PORT = "0" } = process.env;
const scope = "usage:read stores:read contacts:search contacts:reveal"; // those of the policy

const server = createServer().listen(Number(PORT), "127.0.0.1");
await new Promise((listening) => server.once("listening", listening));
const issuer = process.env.ISSUER ?? `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  adapter: mirrored(MemoryAdapter, { url, token }, resource),
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  scopes: ["openid", "offline_access"],
  interactions: { url: (ctx, { uid }) => `/interaction/${uid}` },
  clientDefaults: { token_endpoint_auth_method: "none" },
  // A client that registers with the scopes of its first login could never ask for more: it would get `invalid_scope`.
  extraClientMetadata: {
    properties: ["software_id"],
    validator: (ctx, key, value, metadata) => void delete metadata.scope,
  },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo(ctx, asked) {
        if (asked !== resource) throw new Error(`unknown resource ${asked}`);
        return { scope, audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } };
      },
    },
  },
});

// --- pages -------------------------------------------------------------------------------------

const safe = (text) => String(text).replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`);
const page = (response, html, status = 200) =>
  response.writeHead(status, { "Content-Type": "text/html; charset=utf-8" }).end(html);
const back = (response, place) => response.writeHead(303, { Location: place }).end();

async function form(request) {
  if (request.headers.origin !== new URL(issuer).origin) throw new Error("a form of another site");
  let body = "";
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
}

async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (request.method === "GET" && prompt.name === "login") {
    const fields = "<input name=user><input name=password type=password>";
    return page(response, `<form method=post>${fields}<button>Log in</form>`);
  }
  if (request.method === "GET") {
    const asked = Object.values(prompt.details.missingResourceScopes ?? {}).flat();
    const question = `${safe(params.client_id)} asks for ${safe(asked.join(", "))}`;
    return page(response, `<p>${question}<form method=post><button>Allow</form>`);
  }
  const given = await form(request);
  if (prompt.name === "login") {
    const known = given.get("user") === "ada" && given.get("password") === password;
    const result = known ? { login: { accountId: "ada" } } : { error: "access_denied" };
    return await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  }
  const names = { accountId: session.accountId, clientId: params.client_id };
  const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant(names);
  const { missingOIDCScope: base, missingResourceScopes: more } = prompt.details;
  if (base) grant.addOIDCScope(base.join(" "));
  for (const [target, scopes] of Object.entries(more ?? {})) grant.addResourceScope(target, scopes.join(" "));
  await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

/** Show what ada has allowed, with a button to withdraw it: tokens end with the grant. */
async function connections(request, response) {
  const context = provider.createContext(request, response);
  const session = await provider.Session.get(context);
  if (session.accountId === undefined) return page(response, "log in first", 401);
  if (request.method === "POST") {
    const id = (await form(request)).get("grant");
    const grant = await provider.Grant.find(id);
    if (grant?.accountId !== session.accountId) return page(response, "unknown", 404);
    for (const kind of ["AccessToken", "RefreshToken", "AuthorizationCode"]) await provider[kind].revokeByGrantId(id);
    await grant.destroy();
    return back(response, "/connections");
  }
  const rows = grantsOf(session.accountId).map(([id, { clientId }]) => {
    const named = `<input type=hidden name=grant value="${safe(id)}">`;
    return `<form method=post>${named}<button>Withdraw ${safe(clientId)}</form>`;
  });
  page(response, rows.join("") || "nothing is connected");
}

server.on("request", async (request, response) => {
  try {
    if (request.url.startsWith("/interaction/")) await interact(request, response);
    else if (request.url === "/connections") await connections(request, response);
    else await provider.callback()(request, response);
  } catch (error) {
    console.error(error);
    response.writeHead(400).end();
  }
});
console.log(issuer);

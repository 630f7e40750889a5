// An authorization server for one MCP server, made with better-auth; approvals are mirrored by consents.mjs.
//
//     npm install
//     RESOURCE=https://mcp.example.com/mcp API=http://127.0.0.1:9091 TOKEN=… node server.mjs
//
// One user, ada@example.com, whose password is PASSWORD. Everything is kept in memory: give it a database of your own,
// and a BETTER_AUTH_SECRET that stays. It prints the issuer's URL.
import { createServer } from "node:http";
import { oauthProvider } from "@better-auth/oauth-provider";
import { betterAuth } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";

import { mirrored } from "./consents.mjs";

const { RESOURCE: resource, API: url, TOKEN: token, PASSWORD: password = "secret-secret", PORT = "0" } = process.env;
const scopes = ["usage:read", "stores:read", "contacts:search", "contacts:reveal"]; // those of the policy

const server = createServer().listen(Number(PORT), "127.0.0.1");
await new Promise((listening) => server.once("listening", listening));
const origin = process.env.ORIGIN ?? `http://127.0.0.1:${server.address().port}`;

const tables = ["user", "session", "account", "verification", "jwks", "oauthClient", "oauthConsent"];
tables.push("oauthAccessToken", "oauthRefreshToken", "oauthResource", "oauthClientResource", "oauthClientAssertion");

/** Clients on the user's machine that do not say `application_type: native` would be taken for web sites. */
const nativeClients = {
  id: "native-clients",
  hooks: {
    before: [
      {
        matcher: ({ path, body }) => path === "/oauth2/register" && body?.application_type === undefined,
        handler: createAuthMiddleware(async ({ body }) => {
          const local = body.redirect_uris?.every((uri) => /^http:\/\/(localhost|127\.0\.0\.1|\[::1\])[:/]/.test(uri));
          return { context: { body: { ...body, application_type: local ? "native" : "web" } } };
        }),
      },
    ],
  },
};

const auth = betterAuth({
  baseURL: origin,
  basePath: "/api/auth",
  secret: process.env.BETTER_AUTH_SECRET ?? "an example's secret: 32 characters or more",
  database: memoryAdapter(Object.fromEntries(tables.map((name) => [name, []]))),
  emailAndPassword: { enabled: true },
  hooks: mirrored({ url, token }),
  plugins: [
    nativeClients,
    jwt(),
    oauthProvider({
      loginPage: "/sign-in",
      consentPage: "/consent",
      scopes: ["openid", "offline_access", ...scopes],
      resources: [resource],
      clientRegistrationDefaultResources: [resource],
      allowDynamicClientRegistration: true,
      allowUnauthenticatedClientRegistration: true, // MCP clients register themselves, without a login
    }),
  ],
});
await auth.api.signUpEmail({ body: { name: "Ada", email: "ada@example.com", password } });

// --- pages -------------------------------------------------------------------------------------

const safe = (text) => String(text).replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`);
const page = (response, html) => response.setHeader("Content-Type", "text/html; charset=utf-8").end(html);

/** Ask better-auth as the browser would: with its cookies and its origin, which better-auth checks. */
function ask(request, path, body) {
  const { cookie = "", origin: from = "" } = request.headers;
  const headers = { cookie, origin: from, accept: "application/json", "content-type": "application/json" };
  const init = body ? { method: "POST", body: JSON.stringify(body) } : {};
  return auth.handler(new Request(`${origin}/api/auth${path}`, { ...init, headers }));
}

async function form(request) {
  let body = "";
  for await (const chunk of request) body += chunk;
  return Object.fromEntries(new URLSearchParams(body));
}

/** Go where better-auth says, with the cookies that it sets. */
async function follow(answer, response, place) {
  const said = await answer.text();
  response.setHeader("Set-Cookie", answer.headers.getSetCookie());
  if (!answer.ok) return response.writeHead(answer.status).end(said);
  response.writeHead(303, { Location: place ?? JSON.parse(said).url }).end();
}

const pages = {
  async "GET /sign-in"(request, response) {
    page(response, `<form method=post><input name=email><input name=password type=password><button>Log in</form>`);
  },
  async "POST /sign-in"(request, response, oauth_query) {
    const { email, password } = await form(request);
    await follow(await ask(request, "/sign-in/email", { email, password, oauth_query }), response);
  },
  async "GET /consent"(request, response, query) {
    const asked = new URLSearchParams(query);
    const names = `${safe(asked.get("client_id"))} asks for ${safe(asked.get("scope"))}`;
    page(response, `<p>${names}<form method=post><button>Allow</form>`);
  },
  async "POST /consent"(request, response, oauth_query) {
    await follow(await ask(request, "/oauth2/consent", { accept: true, oauth_query }), response);
  },
  async "GET /connections"(request, response) {
    const rows = await (await ask(request, "/oauth2/get-consents")).json();
    const forms = rows.map(({ id, clientId }) => {
      const named = `<input type=hidden name=id value="${safe(id)}">`;
      return `<form method=post>${named}<button>Withdraw ${safe(clientId)}</form>`;
    });
    page(response, forms.join("") || "nothing is connected");
  },
  async "POST /connections"(request, response) {
    const { id } = await form(request);
    await follow(await ask(request, "/oauth2/delete-consent", { id }), response, "/connections");
  },
};

const api = toNodeHandler(auth);
server.on("request", async (request, response) => {
  const [path, query = ""] = request.url.split("?");
  try {
    await (pages[`${request.method} ${path}`] ?? api)(request, response, query);
  } catch (error) {
    console.error(error);
    response.writeHead(400).end();
  }
});
console.log(`${origin}/api/auth`);

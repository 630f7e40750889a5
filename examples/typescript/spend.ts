// Spend and grant credits of an account beside the sidecar, and write its plan, status and consents.
//
//     npm install
//     mcp-sidecar script credits > credits.lua
//     node spend.ts --store redis://127.0.0.1:6379 --account acme grant contact 100 order-1
//     node spend.ts --store redis://127.0.0.1:6379 --account acme --included month:3000 spend contact 1 reveal-7
//     node spend.ts --store redis://127.0.0.1:6379 --account acme plan growth
//     node spend.ts --store redis://127.0.0.1:6379 --account acme status disabled
//     node spend.ts --store redis://127.0.0.1:6379 --account acme consent granted user-1 cli-1
//     node spend.ts --store redis://127.0.0.1:6379 --account acme consent granted user-1 cli-1 --scopes "stores:read"
//     node spend.ts --store redis://127.0.0.1:6379 --account acme consent revoked user-1 cli-1
//
// --store takes `redis+sentinel://host,host/service` and `redis+cluster://host,host`, too, as the sidecar's
// `store.url` does. Node runs it as it is from 22.18 on. It prints one JSON document. Exit status 0: done; 1: refused, and
// nothing was changed; 2: wrong command line.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { createClient, createCluster, createSentinel } from "redis";

const LAYOUT = "1";
const CODES = ["done", "created", "account_unknown", "too_little", "too_much", "conflict"];
const REMEMBER_MS = 24 * 3600 * 1000; // how long a repeated operation id changes nothing

type Outcome = { code: string; balance?: number; included?: number; error?: string };
type Client = ReturnType<typeof single>;

/** A connection that gives up instead of waiting for a store that is away. */
function single(url: string) {
  return createClient({ url, disableOfflineQueue: true, socket: { reconnectStrategy: false } });
}

const SERVERS = /^redis\+(sentinel|cluster):\/\/(?:([^:@]*):([^@]*)@)?([^/?@]+)(?:\/([^/?]+))?(?:\/([0-9]+))?$/;

/** A client of one server, of the primary that sentinels name, or of a cluster. */
function connection(url: string): Client {
  const servers = SERVERS.exec(url);
  if (!servers) return single(url);
  const [kind, user, password, hosts, service, database] = servers.slice(1).map((part) => decodeURIComponent(part ?? ""));
  const login = { username: user || undefined, password: password || undefined };
  const places = hosts.split(",").map((each) => {
    const [host, port] = each.split(":");
    return { host, port: Number(port ?? (kind === "sentinel" ? 26379 : 6379)) };
  });
  // What is asked of a client here, all three kinds answer alike.
  if (kind === "sentinel") {
    const nodeClientOptions = { ...login, database: Number(database || 0) };
    return createSentinel({ name: service, sentinelRootNodes: places, nodeClientOptions }) as unknown as Client;
  }
  // All keys of an account are in one slot, so each script runs on one node.
  return createCluster({ rootNodes: places.map((socket) => ({ socket })), defaults: login }) as unknown as Client;
}

/** What stands for these names in keys. */
function digest(...parts: string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:${part},`);
  return hash.digest("hex").slice(0, 32);
}

/** Run a script that the store may have forgotten. The operation id makes a second try safe. */
async function run(client: Client, source: string, keys: string[], args: string[]): Promise<unknown> {
  const sha = createHash("sha1").update(source).digest("hex");
  try {
    return await client.evalSha(sha, { keys, arguments: args });
  } catch (error) {
    if (!String(error).includes("NOSCRIPT")) throw error;
    return await client.eval(source, { keys, arguments: args });
  }
}

/**
 * Grant or spend; the same operation again changes nothing and answers the same.
 *
 * `operation` is an id that this one change has for ever, such as the number of an order. `included`, for a
 * spend, is window and number of the credits that the account's plan includes, as `month:3000`.
 */
async function credits(
  client: Client,
  source: string,
  names: { issuer: string; account: string },
  change: { verb: string; pool: string; amount: string; operation: string; included: string },
): Promise<Outcome> {
  const prefix = `mcp:{${digest(names.issuer, names.account)}}:`;
  const kinds = ["ledger", "holds", "leases", "paid", "requests", "usage", "account", `done:${change.operation}`];
  const [window, limit] = change.included ? change.included.split(":") : ["", "0"];
  const args = [change.operation, change.verb, change.pool, change.amount, String(REMEMBER_MS)];
  const answer = await run(
    client,
    source,
    kinds.map((kind) => prefix + kind),
    [...args, window, limit ?? "", "0", names.issuer, names.account],
  );
  const [code, balance, included] = answer as [number, string, string];
  return { code: CODES[code], balance: Number(balance), included: Number(included) };
}

/** Write plan or status; both count from the next call on. */
async function write(client: Client, names: { issuer: string; account: string }, field: string, value: string) {
  await client.hSet(`mcp:{${digest(names.issuer, names.account)}}:account`, { ...names, [field]: value });
}

/**
 * Write a consent, `granted` or `revoked`; it counts from the next call on.
 *
 * `scopes` are those that are granted, separated by spaces; undefined grants whatever a token has.
 */
async function consent(
  client: Client,
  names: { issuer: string; account: string },
  status: string,
  subject: string,
  client_id: string,
  scopes: string | undefined,
) {
  const prefix = `mcp:{${digest(names.issuer, names.account)}}:`;
  const [record, now] = [`consent:${digest(subject, client_id)}`, Date.now()];
  const key = prefix + record;
  const listed = scopes === undefined ? {} : { scopes };
  await client.hSet(key, { ...names, subject, client_id, status, at: (now / 1000).toFixed(3), ...listed });
  await client.zAdd(`${prefix}consents`, { value: record, score: now }); // for lists of connected clients
  // Scopes of an earlier approval would go on narrowing this one.
  if (status === "granted" && scopes === undefined) await client.hDel(key, "scopes");
}

function wrong(text: string): never {
  console.error(text);
  process.exit(2);
}

async function main(): Promise<Outcome> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      store: { type: "string" },
      issuer: { type: "string", default: "main" },
      account: { type: "string" },
      script: { type: "string", default: "credits.lua" },
      included: { type: "string", default: "" },
      scopes: { type: "string" },
    },
  });
  if (!values.store || !values.account) wrong("--store URL and --account NAME are needed");
  const names = { issuer: values.issuer, account: values.account };
  const [action, ...rest] = positionals;
  const known: Record<string, number> = { grant: 3, spend: 3, plan: 1, status: 1, consent: 3 };
  if (known[action] !== rest.length) wrong("see the head of this file for what can be said");
  if (action === "consent" && !["granted", "revoked"].includes(rest[0])) wrong("granted or revoked");
  if (values.scopes !== undefined && rest[0] !== "granted") wrong("--scopes belongs to a granted consent");
  if (action === "status" && !["active", "disabled"].includes(rest[0])) wrong("active or disabled");

  const client = connection(values.store);
  client.on("error", () => {}); // each command rejects with the same error
  await client.connect();
  try {
    const layout = await client.get("mcp:layout");
    if (layout !== LAYOUT) {
      // Another layout would take these writes for something else.
      return { code: "refused", error: `the store's layout is ${layout}, this program knows ${LAYOUT}` };
    }
    if (action === "grant" || action === "spend") {
      const [pool, amount, operation] = rest;
      const change = { verb: action, pool, amount, operation, included: values.included };
      return await credits(client, readFileSync(values.script, "utf8"), names, change);
    }
    if (action === "consent") await consent(client, names, rest[0], rest[1], rest[2], values.scopes);
    else await write(client, names, action, rest[0]);
    return { code: "done" };
  } catch (error) {
    return { code: "refused", error: error instanceof Error ? error.message : String(error) };
  } finally {
    client.destroy();
  }
}

const outcome = await main();
console.log(JSON.stringify(outcome));
process.exitCode = ["done", "created"].includes(outcome.code) ? 0 : 1;

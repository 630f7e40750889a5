-- Global names as local ones in functions of the server: a global is found by two look-ups in tables. Most are there
-- only once a function runs.
local register = redis.register_function
local function globals() return redis, cjson, ipairs, math, next, pairs, pcall, string, tonumber, type, unpack end
local redis, cjson, ipairs, math, next, pairs, pcall, string, tonumber, type, unpack
local function find_globals()
  redis, cjson, ipairs, math, next, pairs, pcall, string, tonumber, type, unpack = globals()
end

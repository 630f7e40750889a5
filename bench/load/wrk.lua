-- Sends prepared requests in turn and prints what was measured as one line of JSON after "RESULT ".
--   wrk -s wrk.lua URL -- FOLDER COUNT PAUSE      FOLDER has the requests as 1, 2, ... COUNT; PAUSE in ms before each
local requests, at, pause = {}, 0, 0

function init(args)
  for number = 1, tonumber(args[2]) do
    local file = assert(io.open(args[1] .. "/" .. number, "rb"))
    requests[number] = file:read("*a")
    file:close()
  end
  pause = tonumber(args[3])
  if pause == 0 then delay = nil end
end

function delay()
  return pause
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  local samples = {}
  for each = 1, #latency do
    local microseconds, count = latency(each)
    samples[each] = string.format("[%d,%d]", microseconds, count)
  end
  io.write(string.format(
    'RESULT {"calls": %d, "seconds": %.6f, "refused": %d, "broken": %d, "latency": [%s]}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, table.concat(samples, ",")))
end

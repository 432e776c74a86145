local http = require("http")
local json = require("json")

local function handler()
    local req = http.request()
    local res = http.response()

    -- 핸들러 프로세스 스폰
    local pid = process.spawn("app.ws:handler", "app:processes")

    -- 릴레이 설정
    res:header("X-WS-Relay", json.encode({
        target_pid = tostring(pid),
        message_topic = "ws.message",
        heartbeat_interval = "30s",
        metadata = {
            user_id = req:query("user_id")
        }
    }))
end

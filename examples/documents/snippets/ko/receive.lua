local json = require("json")

local function handler()
    local inbox = process.inbox()

    while true do
        local msg, ok = inbox:receive()
        if not ok then break end

        local topic = msg:topic()
        local data = msg:payload():data()

        if topic == "ws.join" then
            -- 클라이언트 연결됨
            local client_pid = data.client_pid

        elseif topic == "ws.message" then
            -- 클라이언트 메시지 처리
            local content = json.decode(data.data)
            handle_message(data.client_pid, content)

        elseif topic == "ws.leave" then
            -- 클라이언트 연결 해제됨
            cleanup(data.client_pid)
        end
    end
end

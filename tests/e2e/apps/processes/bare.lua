local function answer(parent)
    process.send(parent, "bare", "from a local function")
end

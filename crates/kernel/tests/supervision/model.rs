//! Erlang's rules for a supervisor, written down a second time: lists of names, searched from front to back, and a
//! line of text for whatever the supervisor is to do. Nothing here is shared with the kernel.

/// How a child is written down.
#[derive(Clone, Debug)]
pub(crate) struct Kid {
    pub(crate) name: String,
    /// `p`ermanent, `t`ransient or te`m`porary.
    pub(crate) kind: char,
    /// Milliseconds; none for as long as it takes.
    pub(crate) patience: Option<u64>,
}

/// What somebody wants.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Add(Kid),
    Terminate(String),
    Restart(String),
    Delete(String),
}

/// What a process of the supervisor waits for, and which child it concerns.
#[derive(Clone, Debug, PartialEq)]
enum Busy {
    With(&'static str, u64),
    No,
}

/// A supervisor as the book has it.
pub(crate) struct Model {
    strategy: &'static str,
    intensity: usize,
    period: u64,
    start_timeout: u64,
    kids: Vec<Kid>,
    /// Name and number of what runs.
    running: Vec<(String, u64)>,
    /// Names of those that have been up at least once.
    veterans: Vec<String>,
    to_stop: Vec<String>,
    to_start: Vec<String>,
    /// Name, request, and which of `add`, `restart`, `terminate` it is.
    promised: Vec<(String, u64, &'static str)>,
    queue: Vec<(u64, Want)>,
    restarts: Vec<u64>,
    busy: Busy,
    stage: &'static str,
    count: u64,
    /// When it loses patience.
    pub(crate) deadline: Option<u64>,
    /// What it has done since the last event.
    pub(crate) said: Vec<String>,
}

impl Model {
    pub(crate) fn new(
        strategy: &'static str,
        intensity: usize,
        period: u64,
        start_timeout: u64,
        kids: &[Kid],
    ) -> Model {
        Model {
            strategy,
            intensity,
            period,
            start_timeout,
            kids: kids.to_vec(),
            running: Vec::new(),
            veterans: Vec::new(),
            to_stop: Vec::new(),
            to_start: Vec::new(),
            promised: Vec::new(),
            queue: Vec::new(),
            restarts: Vec::new(),
            busy: Busy::No,
            stage: "new",
            count: 0,
            deadline: None,
            said: Vec::new(),
        }
    }

    fn say(&mut self, text: String) {
        self.said.push(text);
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.running.iter().find(|(running, _)| running == name).map(|(_, number)| *number)
    }

    fn name_of(&self, number: u64) -> Option<String> {
        self.running.iter().find(|(_, running)| *running == number).map(|(name, _)| name.clone())
    }

    fn kind(&self, name: &str) -> char {
        self.kids.iter().find(|kid| kid.name == name).map_or('?', |kid| kid.kind)
    }

    fn promise(&mut self, name: &str, of: &[&str]) -> Option<(u64, &'static str)> {
        let at = self.promised.iter().position(|(promised, _, what)| promised == name && of.contains(what))?;
        let (_, request, what) = self.promised.remove(at);
        Some((request, what))
    }

    fn idle(&mut self) {
        self.busy = Busy::No;
        self.deadline = None;
    }

    // Events

    pub(crate) fn start(&mut self, now: u64) {
        if self.stage == "new" {
            self.stage = "starting";
            self.to_start = self.kids.iter().map(|kid| kid.name.clone()).collect();
        }
        self.go_on(now);
    }

    pub(crate) fn came_up(&mut self, now: u64, number: u64) {
        if self.busy == Busy::With("start", number) {
            self.idle();
            self.is_up(number);
        }
        self.go_on(now);
    }

    pub(crate) fn time_is_over(&mut self, now: u64) {
        match self.busy.clone() {
            Busy::With("stop", number) => {
                self.deadline = None;
                if let Some(name) = self.name_of(number) {
                    self.say(format!("overdue {name}"));
                }
                self.say(format!("kill {number}"));
            }
            Busy::With(_, number) => {
                self.idle();
                if let Some(name) = self.name_of(number) {
                    self.say(format!("slow {name}"));
                }
                self.is_up(number);
            }
            Busy::No => {}
        }
        self.go_on(now);
    }

    pub(crate) fn ended(&mut self, now: u64, number: u64, failed: bool) {
        let Some(name) = self.name_of(number) else { return self.go_on(now) };
        self.running.retain(|(running, _)| *running != name);
        let was_starting = self.busy == Busy::With("start", number);
        if was_starting || self.busy == Busy::With("stop", number) {
            self.idle();
        }
        if self.to_stop.contains(&name) {
            self.has_stopped(&name);
            return self.go_on(now);
        }
        if was_starting
            && failed
            && let Some((request, what)) = self.promise(&name, &["add", "restart"])
        {
            // Who asked for it is told, and that is all.
            self.say(format!("ended {name}"));
            self.say(format!("answer {request} Internal"));
            if what == "add" || self.kind(&name) == 'm' {
                self.drop_kid(&name);
            }
            return self.go_on(now);
        }
        if was_starting && !failed {
            self.up_as(&name, number);
        }
        match (self.kind(&name), failed) {
            ('m', _) => {
                self.say(format!("ended {name}"));
                self.drop_kid(&name);
            }
            ('t', false) => self.say(format!("ended {name}")),
            _ => self.again(now, &name),
        }
        self.go_on(now);
    }

    pub(crate) fn asked(&mut self, now: u64, request: u64, want: Want) {
        if self.stage.starts_with("end") {
            self.say(format!("answer {request} Unavailable"));
        } else {
            self.queue.push((request, want));
        }
        self.go_on(now);
    }

    pub(crate) fn stop(&mut self, now: u64) {
        self.end_with("end ok");
        self.go_on(now);
    }

    // Rules

    /// `supervisor:restart/2`: counted first, then by strategy.
    fn again(&mut self, now: u64, name: &str) {
        self.restarts.push(now);
        let recent = self.restarts.iter().filter(|&&then| then + self.period >= now).count();
        if recent > self.intensity {
            self.say(format!("gave up {name}"));
            return self.end_with("end failed");
        }
        self.say(format!("restarts {name}"));
        let names: Vec<String> = self.kids.iter().map(|kid| kid.name.clone()).collect();
        let group: Vec<String> = match self.strategy {
            "one_for_one" => vec![name.to_owned()],
            "rest_for_one" => names.into_iter().skip_while(|one| one != name).collect(),
            _ => names,
        };
        for one in group {
            self.must_stop(&one);
            if self.kind(&one) != 'm' && !self.to_start.contains(&one) {
                self.to_start.push(one);
            }
        }
    }

    fn must_stop(&mut self, name: &str) {
        let Some(number) = self.number(name) else { return };
        if !self.to_stop.iter().any(|one| one == name) {
            self.to_stop.push(name.to_owned());
        }
        if self.busy == Busy::With("start", number) {
            self.idle();
        }
    }

    fn end_with(&mut self, end: &'static str) {
        if self.stage.starts_with("end") || self.stage == "over" {
            return;
        }
        for name in self.kids.iter().map(|kid| kid.name.clone()).collect::<Vec<_>>() {
            self.must_stop(&name);
            if let Some((request, _)) = self.promise(&name, &["add", "restart"]) {
                self.say(format!("answer {request} Unavailable"));
            }
        }
        self.to_start.clear();
        for (request, _) in std::mem::take(&mut self.queue) {
            self.say(format!("answer {request} Unavailable"));
        }
        let untouched = self.stage == "new";
        self.stage = end;
        if untouched {
            self.go_on(0);
        }
    }

    fn is_up(&mut self, number: u64) {
        if let Some(name) = self.name_of(number) {
            self.up_as(&name, number);
        }
    }

    fn up_as(&mut self, name: &str, number: u64) {
        let word = if self.veterans.iter().any(|one| one == name) { "restarted" } else { "started" };
        self.say(format!("{word} {name}"));
        self.veterans.push(name.to_owned());
        if let Some((request, _)) = self.promise(name, &["add", "restart"]) {
            self.say(format!("answer {request} runs {number}"));
        }
    }

    fn has_stopped(&mut self, name: &str) {
        self.to_stop.retain(|one| one != name);
        if let Some((request, _)) = self.promise(name, &["terminate"]) {
            self.say(format!("answer {request} done"));
        }
        if self.kind(name) == 'm' {
            self.drop_kid(name);
        }
    }

    fn drop_kid(&mut self, name: &str) {
        self.kids.retain(|kid| kid.name != name);
        self.to_start.retain(|one| one != name);
        self.veterans.retain(|one| one != name);
        if let Some((request, _)) = self.promise(name, &["add", "restart"]) {
            self.say(format!("answer {request} Canceled"));
        }
    }

    /// Last to first what is to stop, then first to last what is to start, then what somebody wants.
    fn go_on(&mut self, now: u64) {
        while self.busy == Busy::No && self.stage != "over" && self.stage != "new" {
            let stop = self.kids.iter().rev().find(|kid| self.to_stop.contains(&kid.name)).cloned();
            if let Some(kid) = stop {
                match self.number(&kid.name) {
                    None => self.has_stopped(&kid.name),
                    Some(number) => {
                        self.say(format!("cancel {number}"));
                        self.busy = Busy::With("stop", number);
                        self.deadline = kid.patience.map(|patience| now + patience);
                    }
                }
                continue;
            }
            if self.stage.starts_with("end") {
                self.say(self.stage.to_owned());
                self.stage = "over";
                continue;
            }
            let start = self.kids.iter().find(|kid| self.to_start.contains(&kid.name)).cloned();
            if let Some(kid) = start {
                self.to_start.retain(|one| *one != kid.name);
                self.count += 1;
                let number = self.count;
                self.running.push((kid.name.clone(), number));
                self.say(format!("spawn {} {number}", kid.name));
                self.busy = Busy::With("start", number);
                self.deadline = Some(now + self.start_timeout);
            } else if self.stage == "starting" {
                self.stage = "up";
                self.say("up".to_owned());
            } else if !self.queue.is_empty() {
                let (request, want) = self.queue.remove(0);
                self.serve(request, want);
            } else {
                break;
            }
        }
    }

    fn serve(&mut self, request: u64, want: Want) {
        let known = |model: &Model, name: &str| model.kids.iter().any(|kid| kid.name == name);
        match want {
            Want::Add(kid) if known(self, &kid.name) => self.say(format!("answer {request} AlreadyExists")),
            Want::Add(kid) => {
                self.to_start.push(kid.name.clone());
                self.promised.push((kid.name.clone(), request, "add"));
                self.kids.push(kid);
            }
            Want::Terminate(name) | Want::Restart(name) | Want::Delete(name) if !known(self, &name) => {
                self.say(format!("answer {request} NotFound"));
            }
            Want::Terminate(name) if self.number(&name).is_some() => {
                self.to_stop.push(name.clone());
                self.promised.push((name, request, "terminate"));
            }
            Want::Terminate(_) => self.say(format!("answer {request} done")),
            Want::Restart(name) | Want::Delete(name) if self.number(&name).is_some() => {
                self.say(format!("answer {request} Conflict"));
            }
            Want::Restart(name) => {
                self.to_start.push(name.clone());
                self.promised.push((name, request, "restart"));
            }
            Want::Delete(name) => {
                self.drop_kid(&name);
                self.say(format!("answer {request} done"));
            }
        }
    }
}

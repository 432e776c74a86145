//! Supervisors as processes: what they spawn, what they leave behind, and who asks them. What they decide is compared
//! with a model in `tests/supervision`.

use crate::world::*;
use kernel::supervisor::machine::Report;
use kernel::supervisor::order::{self, Change};
use kernel::supervisor::{ChildRestart, Plan, Reporting, Settings, Source, Spec, Strategy, Supervisor};
use kernel::term::{Field, View};
use kernel::{Error, Host, HostId, Kind, Pid, SpawnBody, Term};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What was reported, and the newest PID of each child.
#[derive(Default)]
struct Reports {
    lines: Vec<String>,
    pids: HashMap<String, Pid>,
}

type Diary = Arc<Mutex<Reports>>;

/// A child that is a puppet.
fn child_of(stage: &Shared, host: HostId) -> Source {
    let stage = stage.clone();
    let seed = move |supervisor: Pid| -> Box<dyn std::any::Any + Send> {
        let stage = stage.clone();
        let make: Make =
            Box::new(move |pid| Ok(Box::new(Reporting::new(Box::new(Puppet::new(pid, stage)), supervisor))));
        Box::new(make)
    };
    Source { entry: "app:puppet".into(), kind: "process", host, name: None, seed: Box::new(seed) }
}

/// A child that is a supervisor of one puppet, with a name.
fn tree_of(stage: &Shared, diary: &Diary, host: HostId) -> Source {
    let (stage, diary) = (stage.clone(), diary.clone());
    let seed = move |parent: Pid| -> Box<dyn std::any::Any + Send> {
        let (stage, diary) = (stage.clone(), diary.clone());
        let make: Make = Box::new(move |_| {
            let children = vec![(spec("leaf"), child_of(&stage, host))];
            Ok(Box::new(Supervisor::new(Plan { parent: Some(parent), ..plan(children, &stage, &diary) })))
        });
        Box::new(make)
    };
    let name = Some("app:inner".into());
    Source { entry: "app:inner".into(), kind: "supervisor", host: HostId::SYSTEM, name, seed: Box::new(seed) }
}

fn spec(id: &str) -> Spec {
    Spec { id: id.into(), restart: ChildRestart::Permanent, stop_timeout: Some(5 * SECOND) }
}

fn plan(children: Vec<(Spec, Source)>, stage: &Shared, diary: &Diary) -> Plan {
    let settings =
        Settings { strategy: Strategy::OneForOne, intensity: 3, period: 5 * SECOND, start_timeout: 10 * SECOND };
    let (stage, diary) = (stage.clone(), diary.clone());
    Plan {
        settings,
        children,
        adopt: Box::new(move |request, _| match request.get("id").and_then(View::as_str) {
            Some("bad") => Err(Error::new(Kind::NotFound, "no such thing")),
            id => Ok((spec(id.unwrap_or_default()), child_of(&stage, HostId::SYSTEM))),
        }),
        notice: Box::new(move |report, pid| {
            let mut diary = diary.lock().unwrap();
            let line = match report {
                Report::Started(id, ..) => {
                    diary.pids.insert(id.to_string(), pid.expect("it runs"));
                    format!("started {id}")
                }
                Report::Restarts(id, _) => format!("restarts {id}"),
                Report::Overdue(id) => format!("overdue {id}"),
                Report::GaveUp(id, _) => format!("gave up {id}"),
                Report::Up => "up".to_owned(),
                other => format!("{other:?}"),
            };
            diary.lines.push(line);
        }),
        parent: None,
    }
}

struct Supervised {
    world: World,
    diary: Diary,
    supervisor: Pid,
    /// Asks, and watches the supervisor.
    asker: Pid,
}

/// A supervisor of what `children` makes, on the first of two shards.
fn supervise(hosts: Vec<Host>, children: impl FnOnce(&World, &Diary) -> Vec<(Spec, Source)>) -> Supervised {
    let mut world = World::with_hosts(2, hosts);
    let diary = Diary::default();
    let plan = plan(children(&world, &diary), &world.stage, &diary);
    let body = SpawnBody::Here(Box::new(Supervisor::new(plan)));
    let supervisor = world.shards[0].spawn(kernel::Spawn { body, ..child() }).unwrap();
    let asker = world.puppet(1);
    world.settle();
    world.act(asker, |cx| cx.monitor(supervisor)).unwrap();
    world.settle();
    Supervised { world, diary, supervisor, asker }
}

/// Puppets on both shards in turn.
fn two() -> Supervised {
    supervise(vec![spread()], |world, _| {
        let host = world.host("app:spread");
        ["a", "b"].map(|id| (spec(id), child_of(&world.stage, host))).into()
    })
}

impl Supervised {
    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.diary.lock().unwrap().lines)
    }

    /// The newest PID of a child.
    fn pid(&self, id: &str) -> Pid {
        self.diary.lock().unwrap().pids[id]
    }

    /// Sends a courier; its PID.
    fn ask(&mut self, request: Term) -> Pid {
        let to = self.supervisor;
        let pid = self.world.act(self.asker, |cx| cx.spawn(order::courier(to, request).unwrap())).unwrap();
        self.world.settle();
        pid
    }

    /// The answer that a courier brought: of which kind the error is, or nothing.
    fn answer(&self, courier: Pid) -> Option<Option<Kind>> {
        self.world.got(self.asker).into_iter().find_map(|got| match got {
            Got::Exit(from, kind) if from == courier => Some(kind),
            _ => None,
        })
    }

    fn stop(&mut self) {
        self.world.node.cancel_from_outside(self.supervisor, "stop");
        self.world.settle();
    }

    /// Nothing is left once the asker has gone.
    fn is_clean(&mut self) {
        let asker = self.asker;
        self.world.returns(asker);
        self.world.settle();
        assert_eq!(self.world.leftovers(), [0; 11]);
    }
}

fn start(id: &str) -> Term {
    Term::from([("op", Some(Field::Text("start"))), ("id", Some(Field::Text(id)))])
}

#[test]
fn children_start_in_order_and_the_next_one_when_the_one_before_waits() {
    let mut tree = two();
    assert_eq!(tree.said(), ["started a", "started b", "up"]);
    let (a, b) = (tree.pid("a"), tree.pid("b"));
    assert_ne!(a.shard(), b.shard());
    tree.stop();
    let asked = Got::Cancel(tree.supervisor, Some("its supervisor stops it".into()));
    assert_eq!(tree.world.got(b), std::slice::from_ref(&asked));
    assert_eq!(tree.world.got(a), [], "the last one first");
    tree.world.returns(b);
    tree.world.settle();
    assert_eq!(tree.world.got(a), [asked]);
    tree.world.advance(5 * SECOND);
    assert_eq!(tree.world.end_of(a), Some(Some(Kind::Canceled)), "it did not stop in time");
    assert_eq!(tree.said(), ["overdue a"]);
    assert_eq!(tree.world.got(tree.asker), [Got::Exit(tree.supervisor, None)]);
    tree.is_clean();
}

#[test]
fn a_supervisor_that_is_made_to_end_leaves_no_child_behind_not_even_those_that_trap_links() {
    let mut tree = two();
    let (a, b) = (tree.pid("a"), tree.pid("b"));
    tree.world.act(a, |cx| cx.set_trap_links(true));
    tree.world.manner(b, Manner::Spins);
    tree.world.node.terminate_from_outside(tree.supervisor, "now");
    tree.world.settle();
    assert!(!tree.world.is_alive(a) && !tree.world.is_alive(b));
    tree.is_clean();
}

#[test]
fn a_supervisor_that_gives_up_has_stopped_its_children_and_fails() {
    let mut tree = two();
    for _ in 0..4 {
        let a = tree.pid("a");
        tree.world.fails(a);
        tree.world.settle();
    }
    let b = tree.pid("b");
    assert_eq!(tree.said().last().unwrap(), "gave up a");
    assert!(tree.world.is_alive(tree.supervisor), "its other child has not stopped yet");
    tree.world.returns(b);
    tree.world.settle();
    assert_eq!(tree.world.got(tree.asker), [Got::Exit(tree.supervisor, Some(Kind::Internal))]);
    tree.is_clean();
}

#[test]
fn an_inner_supervisor_is_a_child_and_stops_with_all_that_it_supervises() {
    let mut tree = supervise(Vec::new(), |world, diary| {
        let inner = Spec { stop_timeout: None, ..spec("inner") };
        vec![
            (inner, tree_of(&world.stage, diary, HostId::SYSTEM)),
            (spec("last"), child_of(&world.stage, HostId::SYSTEM)),
        ]
    });
    assert_eq!(tree.said(), ["started leaf", "up", "started inner", "started last", "up"]);
    let (inner, last) = (tree.pid("inner"), tree.pid("last"));
    assert_eq!(tree.world.node.lookup("app:inner"), Some(inner));
    for _ in 0..4 {
        let leaf = tree.pid("leaf");
        tree.world.fails(leaf);
        tree.world.settle();
    }
    assert!(!tree.world.is_alive(inner), "it gave up");
    assert_ne!(tree.pid("inner"), inner, "and was started again");
    assert_eq!(tree.world.node.lookup("app:inner"), Some(tree.pid("inner")));
    assert!(tree.world.is_alive(last));
    tree.stop();
    tree.world.returns(last);
    tree.world.settle();
    // The leaf has its five seconds, although nothing was said of the inner supervisor's own time.
    tree.world.advance(5 * SECOND - Duration::from_millis(1));
    assert!(tree.world.is_alive(tree.pid("leaf")));
    tree.world.advance(Duration::from_millis(1));
    assert!(!tree.world.is_alive(tree.supervisor));
    tree.is_clean();
}

#[test]
fn an_inner_supervisor_takes_its_children_with_it_when_the_outer_one_is_made_to_end() {
    let mut tree = supervise(Vec::new(), |world, diary| {
        vec![(Spec { stop_timeout: None, ..spec("inner") }, tree_of(&world.stage, diary, HostId::SYSTEM))]
    });
    tree.world.node.terminate_from_outside(tree.supervisor, "now");
    tree.world.settle();
    assert!(!tree.world.is_alive(tree.pid("leaf")));
    tree.is_clean();
}

#[test]
fn children_are_added_stopped_started_and_forgotten_on_request() {
    let mut tree = two();
    let request = |change, id| order::change(change, id);
    let answered = |tree: &mut Supervised, request| {
        let courier = tree.ask(request);
        tree.answer(courier).expect("an answer")
    };
    assert_eq!(answered(&mut tree, start("c")), None);
    let c = tree.pid("c");
    assert_eq!(answered(&mut tree, start("c")), Some(Kind::AlreadyExists));
    assert_eq!(answered(&mut tree, start("bad")), Some(Kind::NotFound));
    assert_eq!(answered(&mut tree, request(Change::Delete, "c")), Some(Kind::Conflict));
    assert_eq!(answered(&mut tree, request(Change::Terminate, "nobody")), Some(Kind::NotFound));
    let courier = tree.ask(request(Change::Terminate, "c"));
    assert_eq!(tree.answer(courier), None, "it has not ended yet");
    tree.world.returns(c);
    tree.world.settle();
    assert_eq!(tree.answer(courier), Some(None));
    assert_eq!(answered(&mut tree, request(Change::Restart, "c")), None);
    assert_ne!(tree.pid("c"), c);
    let stop = tree.ask(request(Change::Terminate, "c"));
    tree.world.advance(5 * SECOND);
    assert_eq!(tree.answer(stop), Some(None));
    assert_eq!(answered(&mut tree, request(Change::Delete, "c")), None);
    assert_eq!(answered(&mut tree, request(Change::Restart, "c")), Some(Kind::NotFound));
    assert_eq!(answered(&mut tree, order::list()), None);
}

#[test]
fn who_asks_a_supervisor_that_ends_is_told_and_never_waits_for_ever() {
    let mut tree = two();
    let waits = tree.ask(order::change(Change::Terminate, "a"));
    let behind = tree.ask(start("c"));
    assert_eq!((tree.answer(waits), tree.answer(behind)), (None, None));
    tree.world.node.terminate_from_outside(tree.supervisor, "now");
    tree.world.settle();
    assert_eq!(tree.answer(waits), Some(Some(Kind::NotFound)));
    assert_eq!(tree.answer(behind), Some(Some(Kind::NotFound)));
    let late = tree.ask(order::list());
    assert_eq!(tree.answer(late), Some(Some(Kind::NotFound)));
    tree.is_clean();
}

#[test]
fn only_a_supervisor_is_asked() {
    let mut tree = two();
    // A courier is a process of the system as a supervisor is, but none.
    let courier = tree.ask(order::change(Change::Terminate, "a"));
    tree.supervisor = courier;
    let lost = tree.ask(order::list());
    assert_eq!(tree.answer(lost), Some(Some(Kind::Invalid)));
    let mut world = World::with_hosts(1, vec![spread()]);
    let program = world.puppet_on(0, world.host("app:spread"));
    assert!(order::courier(program, order::list()).is_none());
}

#[test]
fn a_child_that_can_never_be_spawned_does_not_stop_the_shard() {
    let mut host = Host::new("app:full");
    host.max_processes = 1;
    let mut tree = supervise(vec![host], |_, _| Vec::new());
    let full = tree.world.host("app:full");
    let in_the_way = tree.world.puppet_on(0, full);
    let mut patient = plan(vec![(spec("x"), child_of(&tree.world.stage, full))], &tree.world.stage, &tree.diary);
    patient.settings.intensity = u32::MAX;
    let body = SpawnBody::Here(Box::new(Supervisor::new(patient)));
    let supervisor = tree.world.shards[0].spawn(kernel::Spawn { body, ..child() }).unwrap();
    // Each turn comes to its end, and the supervisor can be stopped between two of its attempts.
    tree.world.settle();
    assert!(tree.said().len() > 100);
    tree.world.node.cancel_from_outside(supervisor, "stop");
    tree.world.settle();
    assert!(!tree.world.is_alive(supervisor));
    tree.world.returns(in_the_way);
    tree.stop();
    tree.is_clean();
}

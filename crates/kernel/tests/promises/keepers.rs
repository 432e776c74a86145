//! Keepers of services.

use crate::world::*;
use kernel::keeper::{Keeper, Notice, Restart, Service};
use kernel::{Host, HostId, Pid, SpawnBody};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A kept service and what was said of it.
struct Kept {
    world: World,
    keeper: Pid,
    notices: Arc<Mutex<Vec<String>>>,
    pid: Arc<Mutex<Option<Pid>>>,
}

fn restart() -> Restart {
    Restart {
        initial_delay: SECOND,
        max_delay: 8 * SECOND,
        backoff_factor: 2.0,
        jitter: 0.0,
        max_attempts: 0,
        stable_after: 60 * SECOND,
    }
}

fn keep(restart: Restart) -> Kept {
    keep_on(restart, Host::new("app:services"))
}

fn keep_on(restart: Restart, host: Host) -> Kept {
    let mut world = World::with_hosts(1, vec![host]);
    let notices = Arc::<Mutex<Vec<String>>>::default();
    let pid = Arc::<Mutex<Option<Pid>>>::default();
    let (said, newest) = (notices.clone(), pid.clone());
    let service = Service {
        host: world.host("app:services"),
        name: None,
        seed: Box::new(|| Box::new(())),
        restart,
        stop_timeout: Some(5 * SECOND),
        random: Box::new(|| 0.5),
        notice: Box::new(move |notice| {
            said.lock().unwrap().push(match notice {
                Notice::Started(pid) => {
                    *newest.lock().unwrap() = Some(pid);
                    "started".into()
                }
                Notice::Failed(_, pause) => format!("failed, again in {pause:?}"),
                Notice::GaveUp(_) => "gave up".into(),
                Notice::Ended => "ended".into(),
            });
        }),
    };
    let body = SpawnBody::Here(Box::new(Keeper::new(service)));
    let keeper = world.shards[0].spawn(kernel::Spawn { body, ..child() }).unwrap();
    Kept { world, keeper, notices, pid }
}

impl Kept {
    fn service(&self) -> Pid {
        self.pid.lock().unwrap().expect("it was started")
    }

    fn fail(&mut self) {
        let pid = self.service();
        self.world.fails(pid);
        self.world.settle();
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap())
    }

    fn stop(&mut self) {
        self.world.node.cancel_from_outside(self.keeper, "stop");
        self.world.settle();
    }

    /// Watches the keeper with a puppet.
    fn watch(&mut self) -> Pid {
        let watcher = self.world.puppet(0);
        let keeper = self.keeper;
        self.world.act(watcher, |cx| cx.monitor(keeper)).unwrap();
        watcher
    }
}

#[test]
fn a_service_that_fails_is_started_again_after_pauses_that_grow_and_not_before() {
    let mut kept = keep(restart());
    kept.world.settle();
    for seconds in [1, 2, 4, 8, 8] {
        assert_eq!(kept.said(), ["started"]);
        kept.fail();
        assert_eq!(kept.said(), [format!("failed, again in {seconds}s")]);
        kept.world.advance(seconds * SECOND - Duration::from_millis(1));
        assert_eq!(kept.said(), [""; 0]);
        kept.world.advance(Duration::from_millis(1));
    }
    assert_eq!(kept.said(), ["started"]);
}

#[test]
fn a_service_that_ran_long_enough_starts_over_with_the_first_pause() {
    let mut kept = keep(restart());
    kept.world.settle();
    kept.fail();
    kept.world.advance(SECOND);
    kept.world.advance(59 * SECOND);
    kept.fail();
    assert_eq!(kept.said().last().unwrap(), "failed, again in 2s");
    kept.world.advance(2 * SECOND);
    kept.world.advance(60 * SECOND);
    kept.fail();
    assert_eq!(kept.said().last().unwrap(), "failed, again in 1s");
}

#[test]
fn a_keeper_gives_up_after_so_many_attempts_and_fails_with_the_services_error() {
    let mut kept = keep(Restart { max_attempts: 2, ..restart() });
    let watcher = kept.watch();
    kept.world.settle();
    for _ in 0..2 {
        kept.fail();
        kept.world.advance(8 * SECOND);
    }
    kept.said();
    kept.fail();
    assert_eq!(kept.said(), ["gave up"]);
    assert_eq!(kept.world.got(watcher), [Got::Exit(kept.keeper, Some(kernel::Kind::Internal))]);
    kept.world.returns(watcher);
    assert_eq!(kept.world.leftovers(), [0; 11]);
}

#[test]
fn a_service_that_returned_is_not_started_again() {
    let mut kept = keep(restart());
    let watcher = kept.watch();
    kept.world.settle();
    let pid = kept.service();
    kept.world.returns(pid);
    kept.world.advance(100 * SECOND);
    assert_eq!(kept.said(), ["started", "ended"]);
    assert_eq!(kept.world.got(watcher), [Got::Exit(kept.keeper, None)]);
}

#[test]
fn a_service_that_could_not_be_started_is_tried_again() {
    let mut host = Host::new("app:services");
    host.max_processes = 1;
    let mut kept = keep_on(restart(), host);
    let host = kept.world.host("app:services");
    let in_the_way = kept.world.puppet_on(0, host);
    kept.world.settle();
    assert_eq!(kept.said(), ["failed, again in 1s"]);
    kept.world.returns(in_the_way);
    kept.world.advance(SECOND);
    assert_eq!(kept.said(), ["started"]);
}

#[test]
fn a_keeper_that_is_stopped_before_it_ran_starts_nothing() {
    let mut kept = keep(restart());
    kept.stop();
    assert_eq!(kept.said(), ["ended"]);
    assert_eq!(kept.world.leftovers(), [0; 11]);
}

#[test]
fn a_running_service_is_asked_to_end_before_it_is_made_to() {
    for obeys in [true, false] {
        let mut kept = keep(restart());
        kept.world.settle();
        let pid = kept.service();
        kept.stop();
        let asked = Got::Cancel(kept.keeper, Some("the service is stopped".into()));
        assert_eq!(kept.world.got(pid), [asked]);
        if obeys {
            kept.world.returns(pid);
            kept.world.settle();
        } else {
            // A second request changes nothing.
            kept.stop();
            kept.world.advance(5 * SECOND - Duration::from_millis(1));
            assert!(kept.world.is_alive(pid));
            kept.world.advance(Duration::from_millis(1));
            assert_eq!(kept.world.end_of(pid), Some(Some(kernel::Kind::Canceled)));
        }
        assert_eq!(kept.said(), ["started", "ended"]);
        assert_eq!(kept.world.leftovers(), [0; 11]);
    }
}

#[test]
fn a_service_is_not_started_again_when_it_is_stopped_in_its_pause_or_fails_while_it_is_stopped() {
    for stops_first in [true, false] {
        let mut kept = keep(restart());
        kept.world.settle();
        if stops_first {
            kept.stop();
            kept.fail();
        } else {
            kept.fail();
            kept.stop();
        }
        kept.world.advance(100 * SECOND);
        assert_eq!(kept.said().last().unwrap(), "ended");
        assert_eq!(kept.world.leftovers(), [0; 11]);
    }
}

#[test]
fn a_keeper_that_is_made_to_end_leaves_no_service_behind() {
    for stopping in [false, true] {
        let mut kept = keep(restart());
        kept.world.settle();
        if stopping {
            kept.stop();
        }
        kept.world.node.terminate_from_outside(kept.keeper, "now");
        kept.world.settle();
        assert_eq!(kept.world.leftovers(), [0; 11]);
    }
}

#[test]
fn strangers_mail_does_not_disturb_a_keeper() {
    let mut kept = keep(restart());
    kept.world.settle();
    let stranger = kept.world.puppet_on(0, HostId::SYSTEM);
    let keeper = kept.keeper;
    for _ in 0..100 {
        kept.world.send(stranger, keeper, "hello");
    }
    kept.world.settle();
    assert!(kept.world.is_alive(keeper));
    assert_eq!(kept.said(), ["started"]);
}

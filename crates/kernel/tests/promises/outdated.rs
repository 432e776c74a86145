//! Processes that are outdated are told.

use crate::world::*;
use kernel::Host;

#[test]
fn whoever_is_outdated_is_told_on_every_shard_and_nobody_else() {
    let mut world = World::new(2);
    let pids: Vec<_> = (0..2_000).map(|n| world.puppet(n % 2)).collect();
    world.settle();
    // More than one look takes in.
    let outdated: Vec<_> = pids.iter().copied().step_by(40).collect();
    world.stage.lock().unwrap().outdated.clone_from(&outdated);
    world.node.outdate();
    world.settle();
    for pid in pids {
        let told = if outdated.contains(&pid) { vec![Got::Outdated] } else { Vec::new() };
        assert_eq!(world.got(pid), told, "{pid:?}");
    }
}

#[test]
fn whoever_does_not_listen_is_told_once_even_with_a_full_mailbox() {
    let mut narrow = Host::new("app:narrow");
    narrow.mailbox_messages = 1;
    let mut world = World::with_hosts(2, vec![narrow]);
    let host = world.host("app:narrow");
    for shard in NEAR_AND_FAR {
        let (from, deaf) = (world.puppet(0), world.puppet_on(shard, host));
        world.settle();
        world.manner(deaf, Manner::Deaf);
        world.send(from, deaf, "full");
        world.stage.lock().unwrap().outdated = vec![deaf];
        for _ in 0..5 {
            world.node.outdate();
            world.settle();
        }
        world.manner(deaf, Manner::Reads);
        world.nudge(deaf);
        world.settle();
        let told = |world: &World| world.got(deaf).iter().filter(|got| **got == Got::Outdated).count();
        assert_eq!(told(&world), 1);
        world.node.outdate();
        world.settle();
        assert_eq!(told(&world), 2);
    }
}

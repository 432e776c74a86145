//! What nobody may rely on, shown to happen.

use crate::world::*;

#[test]
fn messages_of_different_senders_may_arrive_in_another_order_than_they_were_sent() {
    let mut world = World::new(2);
    let (far, near, receiver) = (world.puppet(1), world.puppet(0), world.puppet(0));
    world.settle();
    world.send(far, receiver, "first");
    world.send(near, receiver, "second");
    world.settle();
    assert_eq!(world.got(receiver), [Got::Message(near, "second".into()), Got::Message(far, "first".into())]);
}

#[test]
fn a_message_to_a_process_that_ends_is_lost_although_its_sender_was_told_true() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let sender = world.puppet(0);
        let receiver = world.mannered(shard, kernel::HostId::SYSTEM, Manner::Deaf);
        world.settle();
        // `send` of the world panics unless it is taken.
        world.send(sender, receiver, "lost");
        world.returns(receiver);
        world.settle();
        assert_eq!((world.topics(receiver, sender).len(), world.got(sender).len()), (0, 0));
    }
}

#[test]
fn two_shards_may_hear_of_one_broadcast_at_different_times() {
    let mut world = World::new(3);
    let (sender, one, two) = (world.puppet(0), world.puppet(1), world.puppet(2));
    world.settle();
    for pid in [one, two] {
        world.act(sender, |cx| cx.join("players", pid)).unwrap();
    }
    world.act(sender, |cx| cx.broadcast("players", kernel::Topic::from("goal"), kernel::Body::None));
    world.turn(0);
    world.turn(1);
    assert_eq!((world.topics(one, sender).len(), world.topics(two, sender).len()), (1, 0));
    world.settle();
    assert_eq!(world.topics(two, sender), ["goal"]);
}

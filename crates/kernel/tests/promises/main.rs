//! What the kernel promises, one test a promise: a whole node in one thread, its shards driven by hand with a clock
//! that only the tests move.

mod balance;
mod ends;
mod groups;
mod keepers;
mod messages;
mod names;
mod not_promised;
mod outdated;
mod patient;
mod places;
mod relations;
mod rooms;
mod subscriptions;
mod supervisors;
mod threads;
mod timers;
mod world;

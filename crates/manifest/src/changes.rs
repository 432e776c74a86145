//! What two readings of one folder differ in besides code.

use crate::diagnostics::Place;
use crate::id::EntryId;
use crate::kinds::Kind;
use crate::model::{HttpService, Manifest};

/// An entry that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its id.
    pub id: EntryId,
    /// Its kind.
    pub kind: Kind,
    /// What became of it.
    pub what: What,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was not there before.
    Added,
    /// It has other fields.
    Changed,
    /// It is there no more.
    Removed,
}

impl Manifest {
    /// What is different in `new`, besides the code of functions, processes and libraries and besides where in its file
    /// an entry is written.
    pub fn changes(&self, new: &Manifest) -> Vec<Change> {
        let mut changes = Vec::new();
        let all = &mut changes;
        compare(Kind::HttpService, (&self.services, &new.services), |e| &e.id, places_of_service, all);
        compare(Kind::HttpRouter, (&self.routers, &new.routers), |e| &e.id, |e| vec![&mut e.place], all);
        compare(Kind::HttpEndpoint, (&self.endpoints, &new.endpoints), |e| &e.id, |e| vec![&mut e.place], all);
        compare(Kind::HttpStatic, (&self.statics, &new.statics), |e| &e.id, |e| vec![&mut e.place], all);
        compare(Kind::ProcessHost, (&self.hosts, &new.hosts), |e| &e.id, |e| vec![&mut e.place], all);
        compare(
            Kind::ProcessService,
            (&self.process_services, &new.process_services),
            |e| &e.id,
            |e| vec![&mut e.place],
            all,
        );
        compare(
            Kind::ProcessSupervisor,
            (&self.supervisors, &new.supervisors),
            |e| &e.id,
            |e| e.children.iter_mut().map(|child| &mut child.place).chain([&mut e.place]).collect(),
            all,
        );
        changes
    }
}

fn places_of_service(service: &mut HttpService) -> Vec<&mut Place> {
    let pems = service.tls.as_mut().map(|tls| [Some(&mut tls.cert), Some(&mut tls.key), tls.client_ca.as_mut()]);
    let pems = pems.into_iter().flatten().flatten().map(|pem| &mut pem.place);
    pems.chain([&mut service.place]).collect()
}

fn compare<T: Clone + PartialEq>(
    kind: Kind,
    (old, new): (&[T], &[T]),
    id: fn(&T) -> &EntryId,
    places: fn(&mut T) -> Vec<&mut Place>,
    changes: &mut Vec<Change>,
) {
    let change = |entry: &T, what| Change { id: id(entry).clone(), kind, what };
    for entry in new {
        match old.iter().find(|other| id(other) == id(entry)) {
            None => changes.push(change(entry, What::Added)),
            Some(other) => {
                let (mut one, mut two) = (entry.clone(), other.clone());
                for (place, other) in places(&mut one).into_iter().zip(places(&mut two)) {
                    *place = other.clone();
                }
                if one != two {
                    changes.push(change(entry, What::Changed));
                }
            }
        }
    }
    let gone = old.iter().filter(|other| !new.iter().any(|entry| id(entry) == id(other)));
    changes.extend(gone.map(|entry| change(entry, What::Removed)));
}

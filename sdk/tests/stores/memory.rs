//! The contract without a server.

use std::cell::RefCell;
use std::rc::Rc;

use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::contract::Backend;
use ready_probe_sdk::store::memory::MemoryStore;
use ready_probe_sdk::store::{Failure, Published, Record, Seen, Store, Stored};
use ready_probe_sdk::store_contract;

/// One memory that several connections share.
#[derive(Default, Clone)]
struct Shared(Rc<RefCell<MemoryStore>>);

#[allow(
    clippy::await_holding_refcell_ref,
    reason = "a store in memory waits for nobody"
)]
impl Store for Shared {
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure> {
        self.0.borrow_mut().put(records).await
    }
    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        self.0.borrow_mut().read(agents).await
    }
    async fn agents(&mut self) -> Result<Vec<Name>, Failure> {
        self.0.borrow_mut().agents().await
    }
    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure> {
        self.0.borrow_mut().remove(published).await
    }
    async fn tidy(&mut self, agents: &[Name]) -> Result<(), Failure> {
        self.0.borrow_mut().tidy(agents).await
    }
}

impl Backend for Shared {
    type Store = Self;

    async fn store(&mut self) -> Self {
        self.clone()
    }

    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool {
        self.0.borrow_mut().put_raw(published, bytes, ttl_ms);
        true
    }

    async fn wipe(&mut self) {
        self.0.borrow_mut().wipe();
    }
}

store_contract!(memory, Shared::default());

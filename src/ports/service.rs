//! Something that serves until it is stopped.

use std::pin::Pin;

/// A server whose sockets outlive each [`serve`](Service::serve), so that it can be started again after a panic.
pub trait Service: Send + Sync + 'static {
    /// Serves until dropped; ends only if it cannot go on.
    fn serve(&self) -> Pin<Box<dyn Future<Output = ()>>>;
}

//! What a case works with: a hello for the name under test, and the same for an innocent one.

use std::ops::Range;

use sensor_lab::script::hello::{self, ClientHello};

/// On no list, and as long as the names under test: what a fake hello asks for.
pub(super) const INNOCENT: &str = "garden.example";

/// The name a case is tried with.
pub(super) struct Draft {
    pub(super) name: &'static str,
}

/// The bytes of a hello, and of one that differs from it in nothing but the name.
pub(super) struct Hello {
    pub(super) bytes: Vec<u8>,
    pub(super) fake: Vec<u8>,
    /// Where the name lies.
    pub(super) name: Range<usize>,
}

impl Draft {
    /// In one segment.
    pub(super) fn small(&self) -> Hello {
        self.hello(|name| ClientHello::small(name).bytes())
    }

    /// In two segments, the name in the first.
    pub(super) fn large_name_first(&self) -> Hello {
        self.hello(|name| ClientHello::large(name).with_name_first().bytes())
    }

    /// In two segments, the name in the second.
    pub(super) fn large(&self) -> Hello {
        self.hello(|name| ClientHello::large(name).bytes())
    }

    /// In records of at most `size` bytes.
    pub(super) fn in_records(&self, size: usize) -> Hello {
        self.hello(|name| hello::records(&ClientHello::small(name).message(), size))
    }

    /// By whatever makes bytes of a name; the name may lie in pieces.
    pub(super) fn hello(&self, bytes: impl Fn(&str) -> Vec<u8>) -> Hello {
        let (fake, bytes) = (bytes(INNOCENT), bytes(self.name));
        let name = self.name.as_bytes();
        let start = bytes.windows(name.len()).position(|window| window == name).unwrap_or(0);
        Hello { name: start..start + name.len(), bytes, fake }
    }
}

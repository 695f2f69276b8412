//! The loaded programs on frames from memory, by `BPF_PROG_TEST_RUN`: replay, parity tests, benches.

#[cfg(feature = "lab")]
use std::os::fd::AsFd as _;

#[cfg(feature = "lab")]
use aya::programs::ProgramFd;
use aya::programs::{TestRun as _, TestRunOptions};
use sensor_ebpf::abi::PageKey;
use sensor_ebpf::reset::Order;

use super::KernelError;
use super::object::Object;
#[cfg(feature = "lab")]
use super::object::owned_fd;
#[cfg(feature = "lab")]
use super::syscall;

/// Shortest frame the kernel runs a program on.
pub const FRAME_MIN: usize = 14;

/// Room for a frame and what a program may add.
const FRAME_OUT: usize = 1 << 17;

/// Outcome of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The XDP or TC action.
    pub action: u32,
    /// The frame after the program.
    pub frame: Vec<u8>,
    /// The order for the client's reset that XDP left in front of it.
    pub order: Option<Order>,
}

impl Outcome {
    /// The kernel hands out metadata and frame as one.
    fn new(action: u32, mut out: Vec<u8>) -> Self {
        if !out.starts_with(&Order::MAGIC.to_ne_bytes()) || out.len() < size_of::<Order>() {
            return Self { action, frame: out, order: None };
        }
        let frame = out.split_off(size_of::<Order>());
        let word = |at: usize| {
            let bytes = out.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_ne_bytes(bytes.unwrap_or_default())
        };
        let [a, b, c, _] = word(12).to_ne_bytes();
        let (group, category) = (u16::from_ne_bytes([a, b]), c);
        let order = Order {
            magic: word(0),
            sequence_end: word(4),
            page: PageKey { policy: word(8), group, category, reserved: 0 },
            flags: word(16),
            timestamps: [word(20), word(24)],
        };
        Self { action, frame, order: Some(order) }
    }
}

/// XDP actions by number.
pub mod action {
    /// `XDP_DROP`.
    pub const DROP: u32 = 1;
    /// `XDP_PASS`.
    pub const PASS: u32 = 2;
    /// `XDP_TX`.
    pub const TX: u32 = 3;
    /// `TC_ACT_UNSPEC`: whoever comes next decides.
    pub const CONTINUE: u32 = u32::MAX;
}

/// Interface index test frames arrive at: the loopback device of this network namespace.
pub const TEST_IFINDEX: u32 = 1;

/// A program that several threads run at once.
#[cfg(feature = "lab")]
pub struct Repeated {
    program: ProgramFd,
    name: &'static str,
}

#[cfg(feature = "lab")]
impl Repeated {
    /// Runs it `repeat` times on one frame, keeping nothing.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<u32, KernelError> {
        syscall::test_run(self.program.as_fd(), frame, repeat).map_err(|source| {
            KernelError::TestRun { program: self.name, length: frame.len(), source: source.into() }
        })
    }
}

#[cfg(feature = "lab")]
impl Object {
    /// The XDP entry program, for several threads.
    pub fn repeated_xdp(&mut self) -> Result<Repeated, KernelError> {
        let name = "sensor";
        let program = owned_fd(name, self.xdp(name)?.fd())?;
        Ok(Repeated { program, name })
    }

    /// The TC egress program, for several threads.
    pub fn repeated_egress(&mut self) -> Result<Repeated, KernelError> {
        let name = "egress";
        let program = owned_fd(name, self.classifier(name)?.fd())?;
        Ok(Repeated { program, name })
    }
}

impl Object {
    /// Runs the XDP entry program on one frame.
    pub fn run_xdp(&mut self, frame: &[u8]) -> Result<Outcome, KernelError> {
        let mut out = vec![0; FRAME_OUT];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = self.xdp("sensor")?.test_run(options).map_err(|source| {
            KernelError::TestRun { program: "sensor", length: frame.len(), source: source.into() }
        })?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome::new(result.return_value, out))
    }

    /// Runs the TC egress program on one frame.
    pub fn run_egress(&mut self, frame: &[u8]) -> Result<Outcome, KernelError> {
        let mut out = vec![0; FRAME_OUT];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = self.classifier("egress")?.test_run(options).map_err(|source| {
            KernelError::TestRun { program: "egress", length: frame.len(), source: source.into() }
        })?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome { action: result.return_value, frame: out, order: None })
    }

    /// Runs the XDP entry program `repeat` times on one frame, keeping nothing.
    pub fn repeat_xdp(&mut self, frame: &[u8], repeat: u32) -> Result<u32, KernelError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = self.xdp("sensor")?.test_run(options).map_err(|source| {
            KernelError::TestRun { program: "sensor", length: frame.len(), source: source.into() }
        })?;
        Ok(result.return_value)
    }

    /// Runs the TC egress program `repeat` times on one frame, keeping nothing.
    pub fn repeat_egress(&mut self, frame: &[u8], repeat: u32) -> Result<u32, KernelError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = self.classifier("egress")?.test_run(options).map_err(|source| {
            KernelError::TestRun { program: "egress", length: frame.len(), source: source.into() }
        })?;
        Ok(result.return_value)
    }
}

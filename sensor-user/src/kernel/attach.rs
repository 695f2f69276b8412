//! Programs on interfaces. Links are pinned, so that they outlive the daemon; a daemon that starts
//! again replaces the program inside the link, in one step.
//!
//! Below kernel 6.6 TC programs have no links. There they are filters of the clsact qdisc, which stay
//! until they are removed and have a fixed place; a program is replaced in its place, in one step too.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::tc::{self, NlOptions, TcAttachOptions, TcHandle};
use aya::programs::xdp::XdpLink;
use aya::programs::{Link as _, LinkOrder, ProgramError, TcAttachType, Xdp, XdpMode};

use super::object::{Object, STAGES};
use super::{KernelError, syscall};

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack: works with any driver, slower.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Which mode to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Native where the driver can, else generic.
    Auto,
    /// This one or nothing.
    Only(Mode),
}

/// TC programs and where they run.
const CLASSIFIERS: [(&str, TcAttachType); 2] =
    [("client_reset", TcAttachType::Ingress), ("egress", TcAttachType::Egress)];

/// Filter priority and handle below kernel 6.6, fixed so that our own filter can be found again.
const FILTER_PRIORITY: u16 = 0xC5;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

/// What became of a TC program that was to be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linked {
    Yes,
    /// This kernel has filters only.
    NoSuchLinks,
}

/// Index of an interface.
pub fn ifindex(name: &str) -> Result<u32, KernelError> {
    let unknown = || KernelError::NoInterface { name: name.to_owned() };
    let name = CString::new(name).map_err(|_nul| unknown())?;
    // SAFETY: a terminated string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(unknown()),
        index => Ok(index),
    }
}

impl Object {
    /// Attaches all programs to an interface and pins their links. Says in which mode XDP runs.
    pub fn attach(&mut self, name: &str, wanted: Wanted) -> Result<Mode, KernelError> {
        let index = ifindex(name)?;
        self.pin_stages()?;
        // TC first: an order from XDP finds its reader.
        let mut filters = Vec::new();
        for (program, hook) in CLASSIFIERS {
            if self.link_classifier(program, name, hook)? == Linked::NoSuchLinks {
                filters.push((program, hook));
            }
        }
        let mode = self.attach_xdp(name, index, wanted)?;
        // Filters last: their place may be taken by another sensor's, which XDP has refused by now.
        for (program, hook) in filters {
            self.put_filter(program, name, hook)?;
        }
        Ok(mode)
    }

    fn attach_xdp(&mut self, name: &str, index: u32, wanted: Wanted) -> Result<Mode, KernelError> {
        for mode in [Mode::Native, Mode::Generic] {
            let Some(pin) = self.link_pin(name, &format!("xdp-{mode}")) else { continue };
            let Some(link) = adopt(&pin)? else { continue };
            let link =
                XdpLink::try_from(link).map_err(|source| attach_error("sensor", name, source))?;
            let program = self.entry(mode)?;
            match program.attach_to_link(link) {
                Ok(id) => {
                    keep(program.take_link(id), &pin, "sensor", name)?;
                    return Ok(mode);
                }
                // The interface the link was for is gone; this one only has its name.
                Err(_dead) => remove_pin(&pin)?,
            }
        }
        let modes: &[Mode] = match wanted {
            Wanted::Auto => &[Mode::Native, Mode::Generic],
            Wanted::Only(Mode::Native) => &[Mode::Native],
            Wanted::Only(Mode::Generic) => &[Mode::Generic],
        };
        let mut refusal = None;
        for mode in modes {
            let flag = match mode {
                Mode::Native => XdpMode::Driver,
                Mode::Generic => XdpMode::Skb,
            };
            let program = self.entry(*mode)?;
            match program.attach_to_if_index(index, flag) {
                Ok(id) => {
                    let link = program.take_link(id);
                    if let Some(pin) = self.link_pin(name, &format!("xdp-{mode}")) {
                        keep(link, &pin, "sensor", name)?;
                    }
                    return Ok(*mode);
                }
                Err(error) if is_busy(&error) => {
                    let program = attached_xdp(name);
                    return Err(KernelError::OtherXdp { name: name.to_owned(), program });
                }
                Err(error) => refusal = Some(error),
            }
        }
        let source = refusal.map_or_else(|| "no mode was tried".into(), Into::into);
        Err(KernelError::Attach { program: "sensor", name: name.to_owned(), source })
    }

    /// The entry program for a mode.
    fn entry(&mut self, mode: Mode) -> Result<&mut Xdp, KernelError> {
        match mode {
            Mode::Native => self.xdp("sensor"),
            Mode::Generic => {
                let linear = self.linear()?;
                linear.pin_stages()?;
                linear.xdp("sensor")
            }
        }
    }

    /// Pins this load's stages before its programs are attached anywhere: whatever happens to the daemon
    /// then, they keep them. A program array without a holder forgets its programs.
    fn pin_stages(&mut self) -> Result<(), KernelError> {
        let Some(dir) = self.pins.as_deref().map(stages_dir) else { return Ok(()) };
        std::fs::create_dir_all(&dir).map_err(|source| file_error("create", &dir, source))?;
        for stages in STAGES {
            let pin = dir.join(self.stages_id(stages)?.to_string());
            if !pin.exists() {
                self.pin_stages_at(stages, &pin)?;
            }
        }
        Ok(())
    }

    /// Lets go of the stages of earlier loads, once no program of theirs is attached or running.
    pub fn retire_other_stages(&self) -> Result<(), KernelError> {
        let Some(dir) = self.pins.as_deref().map(stages_dir) else { return Ok(()) };
        let mut ours = Vec::new();
        for load in std::iter::once(self).chain(self.linear.as_deref()) {
            for stages in STAGES {
                ours.push(load.stages_id(stages)?.to_string());
            }
        }
        syscall::wait_for_programs();
        for pin in entries(&dir)?.iter().filter(|pin| !ours.contains(&file_name(pin))) {
            remove_pin(pin)?;
        }
        Ok(())
    }

    fn link_classifier(
        &mut self,
        program: &'static str,
        name: &str,
        hook: TcAttachType,
    ) -> Result<Linked, KernelError> {
        let pin = self.link_pin(name, program);
        if let Some(pin) = &pin
            && let Some(link) = adopt(pin)?
        {
            let link = SchedClassifierLink::try_from(link)
                .map_err(|source| attach_error(program, name, source))?;
            match self.classifier(program)?.attach_to_link(link) {
                Ok(id) => {
                    let link = self.classifier(program)?.take_link(id);
                    keep(link, pin, program, name)?;
                    return Ok(Linked::Yes);
                }
                Err(_dead) => remove_pin(pin)?,
            }
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = match self.classifier(program)?.attach_with_options(name, hook, order) {
            Ok(id) => id,
            Err(error) if lacks_tcx(&error) => return Ok(Linked::NoSuchLinks),
            Err(error) => return Err(attach_error(program, name, error)),
        };
        if let Some(pin) = &pin {
            let link = self.classifier(program)?.take_link(id);
            keep(link, pin, program, name)?;
        }
        Ok(Linked::Yes)
    }

    /// Puts a program into its place among the filters, replacing what an earlier load had there.
    fn put_filter(
        &mut self,
        program: &'static str,
        name: &str,
        hook: TcAttachType,
    ) -> Result<(), KernelError> {
        let place = filter_place(name, hook).map_err(|error| attach_error(program, name, error))?;
        let outlives = self.pins.is_some();
        let classifier = self.classifier(program)?;
        let id = match classifier.attach_to_link(place) {
            Ok(id) => id,
            Err(_nothing_to_replace) => {
                // An error here is an existing qdisc, or shows in the next step.
                let _existing = tc::qdisc_add_clsact(name);
                let options =
                    NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, classid: None };
                classifier
                    .attach_with_options(name, hook, TcAttachOptions::Netlink(options))
                    .map_err(|source| attach_error(program, name, source))?
            }
        };
        if outlives {
            let link =
                classifier.take_link(id).map_err(|source| attach_error(program, name, source))?;
            // Dropping it would remove the filter.
            std::mem::forget(link);
        }
        Ok(())
    }

    fn link_pin(&self, interface: &str, program: &str) -> Option<PathBuf> {
        self.pins.as_ref().map(|dir| interface_dir(dir, interface).join(program))
    }
}

/// Where our filter of a hook stands, if it does.
fn filter_place(interface: &str, hook: TcAttachType) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, hook, FILTER_PRIORITY, FILTER_HANDLE, None)
}

/// Removes our filters of one interface, and says which they were. The qdisc stays: it may be others' too,
/// and without filters it does nothing.
fn remove_filters(interface: &str) -> Vec<String> {
    let removed = CLASSIFIERS.into_iter().filter(|(_, hook)| {
        filter_place(interface, *hook).is_ok_and(|filter| filter.detach().is_ok())
    });
    removed.map(|(program, _)| format!("{program} from {interface}")).collect()
}

/// Takes every program off every interface and forgets every map: the way out.
///
/// `interfaces` are those that may carry filters although no link of theirs is pinned.
pub fn detach(pins: &Path, interfaces: &[String]) -> Result<Vec<String>, KernelError> {
    let mut detached = Vec::new();
    let links = links_dir(pins);
    for dir in entries(&links)? {
        detached.extend(remove_links(&dir)?);
    }
    for name in interfaces {
        detached.extend(remove_filters(name));
    }
    let stages = stages_dir(pins);
    for path in entries(&stages)?.into_iter().chain(entries(pins)?) {
        if path != links && path != stages {
            remove_pin(&path)?;
        }
    }
    remove_dir(&links)?;
    remove_dir(&stages)?;
    remove_dir(pins)?;
    Ok(detached)
}

/// True where links of this interface are pinned.
pub fn is_attached(pins: &Path, interface: &str) -> bool {
    entries(&interface_dir(pins, interface)).is_ok_and(|links| !links.is_empty())
}

/// Takes the programs off one interface.
pub fn detach_interface(pins: &Path, interface: &str) -> Result<(), KernelError> {
    remove_links(&interface_dir(pins, interface)).map(|_removed| ())
}

/// Removes the pinned links of one interface and the filters beside them, and says which they were. Without
/// links of ours the filters there are another sensor's.
fn remove_links(dir: &Path) -> Result<Vec<String>, KernelError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let interface = file_name(dir).replace(':', ".");
    let mut removed = Vec::new();
    for link in entries(dir)? {
        removed.push(format!("{} from {interface}", file_name(&link)));
        remove_pin(&link)?;
    }
    removed.extend(remove_filters(&interface));
    remove_dir(dir)?;
    Ok(removed)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn remove_dir(dir: &Path) -> Result<(), KernelError> {
    match std::fs::remove_dir(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(file_error("remove", dir, source)),
    }
}

/// Where the links of an interface are pinned. The BPF file system keeps dots for itself, which VLAN
/// interfaces have in their names; colons are what no interface has.
fn interface_dir(pins: &Path, interface: &str) -> PathBuf {
    links_dir(pins).join(interface.replace('.', ":"))
}

fn links_dir(pins: &Path) -> PathBuf {
    pins.join("links")
}

fn stages_dir(pins: &Path) -> PathBuf {
    pins.join("stages")
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let listing = match std::fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(file_error("list", dir, source)),
    };
    listing
        .map(|entry| {
            entry.map(|entry| entry.path()).map_err(|source| file_error("list", dir, source))
        })
        .collect()
}

/// The pinned link, if there is one.
fn adopt(pin: &Path) -> Result<Option<FdLink>, KernelError> {
    if !pin.exists() {
        return Ok(None);
    }
    let link = PinnedLink::from_pin(pin).map_err(|source| KernelError::Attach {
        program: "pinned link",
        name: pin.display().to_string(),
        source: source.into(),
    })?;
    Ok(Some(link.into()))
}

/// Pins a new link; one that is pinned already only needs to be let go of.
fn keep<L>(
    link: Result<L, ProgramError>,
    pin: &Path,
    program: &'static str,
    name: &str,
) -> Result<(), KernelError>
where
    FdLink: TryFrom<L>,
    <FdLink as TryFrom<L>>::Error: std::error::Error + Send + Sync + 'static,
{
    let link = link.map_err(|source| attach_error(program, name, source))?;
    let link = FdLink::try_from(link).map_err(|source| KernelError::Attach {
        program,
        name: name.to_owned(),
        source: source.into(),
    })?;
    if pin.exists() {
        return Ok(());
    }
    if let Some(dir) = pin.parent() {
        std::fs::create_dir_all(dir).map_err(|source| file_error("create", dir, source))?;
    }
    link.pin(pin).map(|_pinned| ()).map_err(|source| KernelError::Attach {
        program,
        name: name.to_owned(),
        source: source.into(),
    })
}

fn remove_pin(pin: &Path) -> Result<(), KernelError> {
    std::fs::remove_file(pin).map_err(|source| file_error("remove", pin, source))
}

fn file_error(operation: &'static str, path: &Path, source: io::Error) -> KernelError {
    KernelError::File { operation, path: path.to_owned(), source }
}

fn attach_error(
    program: &'static str,
    name: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> KernelError {
    KernelError::Attach { program, name: name.to_owned(), source: source.into() }
}

fn os_error(error: &ProgramError) -> Option<i32> {
    let ProgramError::SyscallError(error) = error else { return None };
    error.io_error.raw_os_error()
}

fn is_busy(error: &ProgramError) -> bool {
    matches!(os_error(error), Some(libc::EBUSY | libc::EEXIST))
}

fn lacks_tcx(error: &ProgramError) -> bool {
    os_error(error) == Some(libc::EINVAL)
}

/// Id of the XDP program on an interface, as `ip link` shows it; 0 where it cannot be told.
fn attached_xdp(name: &str) -> u32 {
    let Ok(output) =
        std::process::Command::new("ip").args(["-d", "link", "show", "dev", name]).output()
    else {
        return 0;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| !word.starts_with("prog/xdp"));
    words.nth(2).and_then(|id| id.parse().ok()).unwrap_or(0)
}

//! Programs on interfaces. Links are pinned, so that they outlive the daemon; a daemon that starts
//! again replaces the program inside the link, in one step.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{self, NlOptions, TcAttachOptions, TcHandle};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, TcAttachType, Xdp, XdpMode};
use aya::programs::{SchedClassifier, tc::SchedClassifierLink};

use super::object::Object;
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

/// Filter priority and handle below kernel 6.6, fixed so that our own filter can be found again.
const FILTER_PRIORITY: u16 = 0xC5;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

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
        // TC first: an order from XDP finds its reader.
        self.attach_classifier("client_reset", name, TcAttachType::Ingress)?;
        self.attach_classifier("egress", name, TcAttachType::Egress)?;
        self.attach_xdp(name, index, wanted)
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
            Mode::Native => {
                self.pin_stages()?;
                self.xdp("sensor")
            }
            Mode::Generic => {
                let linear = self.linear()?;
                linear.pin_stages()?;
                linear.xdp("sensor")
            }
        }
    }

    /// Pins this load's stages before its entry program is attached anywhere: whatever happens to the
    /// daemon then, the program keeps them. A program array without a holder forgets its programs.
    fn pin_stages(&mut self) -> Result<(), KernelError> {
        let Some(dir) = self.pins.as_deref().map(stages_dir) else { return Ok(()) };
        let id = self.stages_id()?;
        let pin = dir.join(id.to_string());
        if pin.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&dir).map_err(|source| file_error("create", &dir, source))?;
        self.pin_stages_at(&pin)
    }

    /// Lets go of the stages of earlier loads, once no entry program of theirs is attached or running.
    pub fn retire_other_stages(&self) -> Result<(), KernelError> {
        let Some(dir) = self.pins.as_deref().map(stages_dir) else { return Ok(()) };
        let mut ours = vec![self.stages_id()?.to_string()];
        if let Some(linear) = &self.linear {
            ours.push(linear.stages_id()?.to_string());
        }
        syscall::wait_for_programs();
        for pin in entries(&dir)?.iter().filter(|pin| !ours.contains(&file_name(pin))) {
            remove_pin(pin)?;
        }
        Ok(())
    }

    fn attach_classifier(
        &mut self,
        program: &'static str,
        name: &str,
        hook: TcAttachType,
    ) -> Result<(), KernelError> {
        let pin = self.link_pin(name, program);
        if let Some(pin) = &pin
            && let Some(link) = adopt(pin)?
        {
            let link = SchedClassifierLink::try_from(link)
                .map_err(|source| attach_error(program, name, source))?;
            match self.classifier(program)?.attach_to_link(link) {
                Ok(id) => {
                    let link = self.classifier(program)?.take_link(id);
                    return keep(link, pin, program, name);
                }
                Err(_dead) => remove_pin(pin)?,
            }
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let classifier = self.classifier(program)?;
        match classifier.attach_with_options(name, hook, order) {
            Ok(id) => {
                let link = self.classifier(program)?.take_link(id);
                match &pin {
                    Some(pin) => keep(link, pin, program, name),
                    None => Ok(()),
                }
            }
            Err(error) if lacks_tcx(&error) => filter(classifier, program, name, hook),
            Err(error) => Err(attach_error(program, name, error)),
        }
    }

    fn link_pin(&self, interface: &str, program: &str) -> Option<PathBuf> {
        self.pins.as_ref().map(|dir| interface_dir(dir, interface).join(program))
    }
}

/// Below kernel 6.6: a filter of the clsact qdisc, which stays by itself.
fn filter(
    classifier: &mut SchedClassifier,
    program: &'static str,
    name: &str,
    hook: TcAttachType,
) -> Result<(), KernelError> {
    // An error here is an existing qdisc, or shows in the next step.
    let _existing = tc::qdisc_add_clsact(name);
    // Nothing to detach on a first start.
    let _absent = tc::qdisc_detach_program(name, hook, program);
    let options = NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, classid: None };
    let id = classifier
        .attach_with_options(name, hook, TcAttachOptions::Netlink(options))
        .map_err(|source| attach_error(program, name, source))?;
    let link = classifier.take_link(id).map_err(|source| attach_error(program, name, source))?;
    // Dropping it would remove the filter.
    std::mem::forget(link);
    Ok(())
}

/// Takes every program off every interface and forgets every map: the way out.
///
/// `interfaces` are those that may carry filters of kernels without pinned TC links.
pub fn detach(pins: &Path, interfaces: &[String]) -> Result<Vec<String>, KernelError> {
    let mut detached = Vec::new();
    let links = links_dir(pins);
    for dir in entries(&links)? {
        detached.extend(remove_links(&dir)?);
    }
    for name in interfaces {
        for (program, hook) in
            [("client_reset", TcAttachType::Ingress), ("egress", TcAttachType::Egress)]
        {
            if tc::qdisc_detach_program(name, hook, program).is_ok() {
                detached.push(format!("{program} from {name}"));
            }
        }
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

/// Removes the pinned links of one interface, and says which they were.
fn remove_links(dir: &Path) -> Result<Vec<String>, KernelError> {
    let interface = file_name(dir).replace(':', ".");
    let mut removed = Vec::new();
    for link in entries(dir)? {
        removed.push(format!("{} from {interface}", file_name(&link)));
        remove_pin(&link)?;
    }
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

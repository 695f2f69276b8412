//! Stack the programs use, from their instructions. The verifier knows it and does not tell on
//! success, so it is read off what `bpftool prog dump xlated` shows.
//!
//! The compiler reaches a frame only through `r10` with constant offsets: directly, or by a copy of
//! `r10` with a constant added at once. The lowest offset is the frame's size.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

/// Bytes of stack by program name, of every program this process holds. `None` without bpftool.
pub(crate) fn depths() -> Option<HashMap<String, u32>> {
    let mut depths = HashMap::new();
    for id in program_ids()? {
        let shown = bpftool(&["--json", "prog", "show", "id", &id])?;
        let shown: serde_json::Value = serde_json::from_str(&shown).ok()?;
        let name = shown.get("name")?.as_str()?.to_owned();
        depths.insert(name, depth(&bpftool(&["prog", "dump", "xlated", "id", &id])?));
    }
    Some(depths)
}

/// Each descriptor of a program says its id.
fn program_ids() -> Option<Vec<String>> {
    let descriptors = fs::read_dir("/proc/self/fdinfo").ok()?;
    let texts = descriptors.flatten().flat_map(|entry| fs::read_to_string(entry.path()));
    let id = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        line.map(|id| id.trim().to_owned())
    };
    Some(texts.filter_map(id).collect())
}

fn bpftool(args: &[&str]) -> Option<String> {
    // Debian keeps it where only root's path leads.
    let output = ["bpftool", "/usr/sbin/bpftool"]
        .iter()
        .find_map(|program| Command::new(program).args(args).output().ok())?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The main function's frame and the largest of the others': they are callbacks of `bpf_loop`, which
/// do not call each other. Frames count in steps of sixteen bytes, as the verifier has it.
fn depth(dump: &str) -> u32 {
    let mut frames = Vec::new();
    let mut copies_of_r10: Vec<&str> = Vec::new();
    for line in dump.lines() {
        if line.ends_with("):") && !line.starts_with([' ', ';']) {
            frames.push(0_u32);
            copies_of_r10.clear();
            continue;
        }
        // `   3: (bf) r2 = r10`; lines of source begin with a semicolon.
        let Some((_, instruction)) = line.split_once(") ") else { continue };
        let Some(frame) = frames.last_mut().filter(|_| !line.starts_with(';')) else { continue };
        let mut below = below_r10(instruction);
        if let Some(register) = instruction.strip_suffix(" = r10") {
            copies_of_r10.push(register);
        } else if let Some((register, offset)) = instruction.split_once(" += -")
            && copies_of_r10.contains(&register)
        {
            below = offset.parse().ok();
        }
        *frame = (*frame).max(below.unwrap_or(0));
    }
    let rounded = frames.iter().map(|frame| frame.max(&1).next_multiple_of(16));
    let main = rounded.clone().next().unwrap_or(0);
    main + rounded.skip(1).max().unwrap_or(0)
}

/// `N` of `(r10 -N)`.
fn below_r10(instruction: &str) -> Option<u32> {
    let (_, offset) = instruction.split_once("(r10 -")?;
    offset.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::depth;

    const DUMP: &str = "\
u32 judge(struct xdp_md * ctx):
; let Some(row) = Row::find() else { return (r10 -400) };
   0: (bf) r7 = r1
   2: (63) *(u32 *)(r10 -24) = r1
   3: (bf) r2 = r10
; an odd place for a line
   4: (07) r2 += -56
   5: (07) r4 += -300
   6: (79) r4 = *(u64 *)(r10 -48)
   7: (95) exit
i64 suffix_step(u32 arg0, void * arg1):
   8: (bf) r0 = r1
   9: (95) exit
i64 other_step(u32 arg0, void * arg1):
  10: (7b) *(u64 *)(r10 -40) = r1
  11: (95) exit
";

    #[test]
    fn the_lowest_offset_of_each_function_counts() {
        assert_eq!(depth(DUMP), 64 + 48);
    }
}

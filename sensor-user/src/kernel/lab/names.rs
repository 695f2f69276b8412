//! Look-ups of names, one a run: in a table as the sensor has it, in a hash map and in a trie.

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapError, PerCpuArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use sensor_ebpf::abi::DomainEntry;
use sensor_ebpf::name::{HashKey, listed_hash};

use super::super::KernelError;
use super::super::listed::fill_both;
use super::{OBJECT, load_error, program};
use crate::engine::Image;

/// Names that are asked for in turn.
pub const ASKED: usize = 1 << 16;

/// Bytes of the longest name that is asked for or listed.
pub const NAME_MAX: usize = 62;

/// Bytes a name has in a map.
const ROOM: usize = 64;

/// The key of the hash map, and of the row that only hashes.
pub const MAP_KEY: HashKey = HashKey { start: 1, multiplier: 0x9e37_79b9_7f4a_7c15 };

/// What a run looks a name up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Nothing: it is hashed only.
    Nothing,
    /// The sensor's table.
    Table,
    /// `BPF_MAP_TYPE_HASH`, each suffix by its hash.
    HashMap,
    /// `BPF_MAP_TYPE_LPM_TRIE`, the name from its end on.
    Trie,
}

impl Means {
    const ALL: [Self; 4] = [Self::Nothing, Self::Table, Self::HashMap, Self::Trie];

    const fn program(self) -> &'static str {
        match self {
            Self::Nothing => "names_hashed",
            Self::Table => "names_table",
            Self::HashMap => "names_map",
            Self::Trie => "names_trie",
        }
    }
}

/// The programs, with lists of their own.
pub struct NamesLab {
    ebpf: Ebpf,
}

impl NamesLab {
    /// Loads the programs, with room for so many names.
    pub fn load(names_max: u32) -> Result<Self, KernelError> {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        loader.map_max_entries("LISTED_MAP", names_max);
        loader.map_max_entries("LISTED_TRIE", names_max);
        let mut ebpf = loader.load(OBJECT).map_err(|source| load_error("lab-xdp", source))?;
        for name in Means::ALL.map(Means::program) {
            let program: &mut Xdp = program(&mut ebpf, name)?;
            program.load().map_err(|source| load_error(name, source))?;
        }
        Ok(Self { ebpf })
    }

    /// Says which names are asked for, over and over; each is at most [`NAME_MAX`] bytes.
    pub fn ask<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<(), KernelError> {
        let mut asked: Array<_, [u64; ROOM / 8]> = self.map("ASKED_NAMES")?;
        for (number, name) in (0..ASKED as u32).zip(names) {
            let mut bytes = bytes_of(name.bytes());
            if let Some(length) = bytes.last_mut() {
                *length = name.len() as u8;
            }
            let mut words = [0; ROOM / 8];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_ne_bytes(*bytes);
            }
            asked.set(number, words, 0).map_err(|source| load_error("ASKED_NAMES", source))?;
        }
        Ok(())
    }

    /// Puts a table where the sensor would look for it, under either generation.
    pub fn list_in_table(&mut self, table: &Image) -> Result<(), KernelError> {
        let map = self.ebpf.map_mut("LISTED").ok_or(KernelError::Missing("LISTED"))?;
        fill_both(map, table)
    }

    /// Puts names into the hash map.
    pub fn list_in_map<'a>(
        &mut self,
        names: impl Iterator<Item = (&'a str, DomainEntry)>,
    ) -> Result<(), KernelError> {
        let mut map: HashMap<_, u64, DomainEntry> = self.map("LISTED_MAP")?;
        for (name, entry) in names {
            map.insert(listed_hash(name, MAP_KEY), entry, 0)
                .map_err(|source| load_error("LISTED_MAP", source))?;
        }
        Ok(())
    }

    /// Puts names into the trie.
    pub fn list_in_trie<'a>(
        &mut self,
        names: impl Iterator<Item = (&'a str, DomainEntry)>,
    ) -> Result<(), KernelError> {
        let mut trie: LpmTrie<_, [u8; ROOM], DomainEntry> = self.map("LISTED_TRIE")?;
        for (name, entry) in names {
            let bytes = bytes_of(name.bytes().rev().chain([b'.']));
            let key = Key::new(8 * (name.len() as u32 + 1), bytes);
            trie.insert(&key, entry, 0).map_err(|source| load_error("LISTED_TRIE", source))?;
        }
        Ok(())
    }

    /// Looks the next `repeat` names up.
    pub fn repeat(&mut self, means: Means, repeat: u32) -> Result<u32, KernelError> {
        let frame = [0; 64];
        let name = means.program();
        let options = TestRunOptions { data_in: Some(&frame), repeat, ..TestRunOptions::default() };
        let program: &mut Xdp = program(&mut self.ebpf, name)?;
        let result = program.test_run(options).map_err(|source| KernelError::TestRun {
            program: name,
            length: frame.len(),
            source: source.into(),
        })?;
        Ok(result.return_value)
    }

    /// Look-ups that found something, since this was loaded.
    pub fn found(&mut self) -> Result<u64, KernelError> {
        let found: PerCpuArray<_, u64> = self.map("FOUND")?;
        let values = found.get(&0, 0).map_err(|source| load_error("FOUND", source))?;
        Ok(values.iter().sum())
    }

    fn map<'a, M>(&'a mut self, name: &'static str) -> Result<M, KernelError>
    where
        M: TryFrom<&'a mut Map, Error = MapError>,
    {
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        M::try_from(map).map_err(|source| load_error(name, source))
    }
}

/// The first bytes of a name, and zeroes.
fn bytes_of(name: impl Iterator<Item = u8>) -> [u8; ROOM] {
    let mut bytes = [0; ROOM];
    for (to, from) in bytes.iter_mut().zip(name) {
        *to = from;
    }
    bytes
}

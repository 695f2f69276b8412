//! The schema of records, for those who read them elsewhere.

/// JSON Schema (draft 2020-12) of [`crate::record::Record`] as `flows --json` writes it. Each field has a description, a
/// unit (`x-unit`) and a source (`x-source`). Tests hold it to the type.
pub const RECORD_SCHEMA: &str = include_str!("../../schema/record.json");

#[cfg(test)]
pub(crate) mod random;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jsonschema::Validator;
    use serde_json::{Value, json};

    use super::RECORD_SCHEMA;
    use super::random::Random;
    use crate::record::sample::{record, unnamed};
    use crate::record::{EndReason, Initiator, Named, RECORD_VERSION, Record};
    use sensor_ebpf::abi::{NameSource, NoName, Verdict};

    fn schema() -> Value {
        serde_json::from_str(RECORD_SCHEMA).unwrap()
    }

    fn validator() -> Validator {
        let mut options = jsonschema::options();
        options = options.should_validate_formats(true);
        options.build(&schema()).unwrap()
    }

    fn assert_valid(validator: &Validator, record: &Record) {
        let value = serde_json::to_value(record).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?} in {value}");
    }

    #[test]
    fn it_has_the_fields_of_a_record_and_no_others() {
        let schema = schema();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect();
        let described: BTreeSet<String> = keys(&schema["properties"]);
        let written: BTreeSet<String> = keys(&serde_json::to_value(record(1)).unwrap());
        assert_eq!(described, written);
        let required = schema["required"].as_array().unwrap();
        assert_eq!(required.len(), written.len());
        assert!(required.iter().all(|name| written.contains(name.as_str().unwrap())));
        assert_eq!(schema["properties"]["schema_version"]["const"], RECORD_VERSION);
    }

    #[test]
    fn every_field_says_what_it_is_its_unit_and_its_source() {
        for (name, field) in schema()["properties"].as_object().unwrap() {
            for key in ["description", "x-unit", "x-source"] {
                let text = field[key].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{name} has no {key}");
            }
        }
    }

    #[test]
    fn it_lists_every_value_of_an_enumeration() {
        fn check<T: Named>(field: &str) {
            let values: Vec<&str> = T::all().iter().map(|value| value.text()).collect();
            assert_eq!(schema()["properties"][field]["enum"], json!(values), "{field}");
        }
        check::<Verdict>("verdict");
        check::<NameSource>("name_source");
        check::<NoName>("no_name");
        check::<EndReason>("end_reason");
        check::<Initiator>("initiator");
    }

    #[test]
    fn records_are_valid() {
        let validator = validator();
        for record in [record(0), record(u64::MAX), unnamed(7)] {
            assert_valid(&validator, &record);
        }
        let mut random = Random::new(1);
        for _ in 0..500 {
            assert_valid(&validator, &random.record());
        }
    }

    #[test]
    fn what_is_no_record_is_not_valid() {
        let validator = validator();
        let sample = serde_json::to_value(record(0)).unwrap();
        for (field, wrong) in [
            ("flow_id", json!(7)),
            ("device", json!("10.0.0")),
            ("protocol", json!(256)),
            ("verdict", json!("perhaps")),
            ("name", json!("a b")),
            ("packets_to_lan", json!(-1)),
            ("payload", json!("text")),
        ] {
            let mut value = sample.clone();
            value[field] = wrong;
            assert!(!validator.is_valid(&value), "{field}");
        }
        let mut value = sample;
        value.as_object_mut().unwrap().remove("zone");
        assert!(!validator.is_valid(&value));
    }
}

//! The Prometheus text format, written directly: a gauge needs no object in memory. Must not know what is measured.
//! Next: `objects.rs`.

use std::fmt::Write as _;

/// Appends the header of a family of gauges.
pub(super) fn write_header(text: &mut String, name: &str, help: &str) {
    // Writing to memory can't fail.
    _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// Appends a series. The labels are in alphabetical order, as those of the other metrics.
pub(super) fn write_series(text: &mut String, name: &str, labels: &[(&str, &str)], value: i64) {
    text.push_str(name);
    for (index, (label, value)) in labels.iter().enumerate() {
        text.push(if index == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        push_escaped(text, value);
        text.push('"');
    }
    _ = writeln!(text, "}} {value}");
}

fn push_escaped(text: &mut String, value: &str) {
    for part in value.split_inclusive(['\\', '\n', '"']) {
        let plain = part.trim_end_matches(['\\', '\n', '"']);
        text.push_str(plain);
        match &part[plain.len()..] {
            "\\" => text.push_str("\\\\"),
            "\n" => text.push_str("\\n"),
            "\"" => text.push_str("\\\""),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{GaugeVec, Opts, TextEncoder, core::Collector};

    use super::*;

    #[test]
    fn text_is_what_the_library_encodes() {
        for value in ["", "web", "a\"b\\c\nd", "\\\\\n\"", "ä \t'", "ends\\"] {
            let gauge = GaugeVec::new(Opts::new("a_gauge", "What it is."), &["one", "two"]).expect("valid");
            gauge.with_label_values(&[value, "2"]).set(1_767_225_600.0);
            let expected = TextEncoder::new().encode_to_string(&gauge.collect()).expect("a text");
            let mut text = String::new();
            write_header(&mut text, "a_gauge", "What it is.");
            write_series(&mut text, "a_gauge", &[("one", value), ("two", "2")], 1_767_225_600);
            assert_eq!(text, expected, "{value:?}");
        }
    }
}

//! The comments of the protos, which are the words of the descriptions.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};

/// By file and by the place within it.
pub(crate) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    pub(crate) fn of(pool: &DescriptorPool) -> Self {
        let mut found = HashMap::new();
        for file in pool.files() {
            let locations = file
                .file_descriptor_proto()
                .source_code_info
                .iter()
                .flat_map(|info| &info.location);
            for location in locations {
                let said = [location.leading_comments(), location.trailing_comments()];
                let words = said.map(paragraphs).join(" ").trim().to_owned();
                if !words.is_empty() {
                    found.insert((file.name().to_owned(), location.path.clone()), words);
                }
            }
        }
        Self(found)
    }

    /// What is said of the thing at a place; empty where nothing is.
    pub(crate) fn at(&self, file: &FileDescriptor, path: &[i32]) -> String {
        let key = (file.name().to_owned(), path.to_vec());
        self.0.get(&key).cloned().unwrap_or_default()
    }
}

/// Lines that were broken at the margin become one again; an empty line stays.
fn paragraphs(comment: &str) -> String {
    let paragraphs = comment.split("\n\n").map(|paragraph| {
        let lines = paragraph.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

//! The descriptors of everything that is said: the contract's, and those of refusals.

use std::sync::LazyLock;

use prost_reflect::{DescriptorError, DescriptorPool};

/// Of `google.rpc.Status`.
pub(crate) const STATUS: &str = "google.rpc.Status";

static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> = LazyLock::new(|| {
    let mut pool = DescriptorPool::decode(contract::DESCRIPTORS)?;
    pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    Ok(pool)
});

pub(crate) fn contract() -> Result<&'static DescriptorPool, &'static DescriptorError> {
    POOL.as_ref()
}

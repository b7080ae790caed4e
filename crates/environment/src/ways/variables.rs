//! Variables by which code comes into a process, by what their readers' documentation says that they do.

use domain::PathText;

use super::{Way, WayKind};

/// How the value of a variable is to be read.
#[derive(Clone, Copy)]
enum Form {
    /// One name.
    One,
    /// Names between colons.
    Colons,
    /// Names between colons or white space, as the loader takes them.
    Loader,
    /// Names between commas.
    Commas,
}

/// Name, what it does, form.
const VARIABLES: &[(&str, WayKind, Form)] = &[
    // ld.so(8)
    ("LD_PRELOAD", WayKind::Preload, Form::Loader),
    ("LD_AUDIT", WayKind::Preload, Form::Colons),
    ("LD_LIBRARY_PATH", WayKind::Search, Form::Colons),
    // iconv(1), nsswitch: modules of the C library.
    ("GCONV_PATH", WayKind::Search, Form::Colons),
    // CUDA driver: a library that is loaded when a process initialises it.
    ("CUDA_INJECTION64_PATH", WayKind::Preload, Form::One),
    ("CUDA_INJECTION32_PATH", WayKind::Preload, Form::One),
    // OpenMP 5: tools.
    ("OMP_TOOL_LIBRARIES", WayKind::Preload, Form::Colons),
    // NCCL: its plug-ins; `none` and names without a path are looked for as libraries.
    ("NCCL_NET_PLUGIN", WayKind::PlugIn, Form::Commas),
    ("NCCL_TUNER_PLUGIN", WayKind::PlugIn, Form::One),
    ("NCCL_PROFILER_PLUGIN", WayKind::PlugIn, Form::One),
    ("NCCL_ENV_PLUGIN", WayKind::PlugIn, Form::One),
    ("NCCL_GIN_PLUGIN", WayKind::PlugIn, Form::One),
    ("NCCL_CONF_FILE", WayKind::Search, Form::One),
    // UCX, libfabric, OpenSSL: where modules are looked for.
    ("UCX_MODULE_DIR", WayKind::Search, Form::One),
    ("FI_PROVIDER_PATH", WayKind::Search, Form::Colons),
    ("OPENSSL_CONF", WayKind::PlugIn, Form::One),
    ("OPENSSL_MODULES", WayKind::Search, Form::One),
    // Python.
    ("PYTHONPATH", WayKind::Search, Form::Colons),
    ("PYTHONHOME", WayKind::Search, Form::Colons),
    ("PYTHONUSERBASE", WayKind::Search, Form::One),
    ("PYTHONPLATLIBDIR", WayKind::Search, Form::One),
    ("PYTHONPYCACHEPREFIX", WayKind::Search, Form::One),
    ("PYTHONSTARTUP", WayKind::PlugIn, Form::One),
    ("PYTHONBREAKPOINT", WayKind::PlugIn, Form::One),
    // A category of warnings is a name that is imported.
    ("PYTHONWARNINGS", WayKind::PlugIn, Form::Commas),
    ("PYTHONINSPECT", WayKind::PlugIn, Form::One),
    // torch: caches of compiled code.
    ("TORCHINDUCTOR_CACHE_DIR", WayKind::Search, Form::One),
    ("TRITON_CACHE_DIR", WayKind::Search, Form::One),
    ("TRITON_LIBCUDA_PATH", WayKind::Search, Form::One),
    ("TORCH_EXTENSIONS_DIR", WayKind::Search, Form::One),
];

/// The most values of one variable.
const VALUES_MAX: usize = 256;

/// The ways in that a process has by its variables. `leave_out` are values that whoever asks put there itself.
pub fn of_variables<'a>(
    variables: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    leave_out: &[&[u8]],
) -> Vec<Way> {
    let mut ways = Vec::new();
    for (name, value) in variables {
        let Some((known, kind, form)) = VARIABLES
            .iter()
            .find(|(known, ..)| known.as_bytes() == name)
        else {
            continue;
        };
        let values = parts(value, *form).filter(|value| !leave_out.contains(value));
        ways.extend(values.take(VALUES_MAX).map(|value| Way {
            kind: *kind,
            name: (*known).to_owned(),
            value: PathText::from_bytes(value),
            digest: None,
        }));
    }
    ways.sort();
    ways.dedup();
    ways
}

/// The ways in that a text of `/etc/ld.so.preload` opens to every process of the machine.
pub fn of_system(text: &[u8]) -> Vec<Way> {
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default());
    lines
        .flat_map(|line| parts(line, Form::Loader))
        .take(VALUES_MAX)
        .map(|value| Way {
            kind: WayKind::Preload,
            name: "/etc/ld.so.preload".to_owned(),
            value: PathText::from_bytes(value),
            digest: None,
        })
        .collect()
}

fn parts(value: &[u8], form: Form) -> impl Iterator<Item = &[u8]> {
    value
        .split(move |byte| match form {
            Form::One => false,
            Form::Colons => *byte == b':',
            Form::Commas => *byte == b',',
            Form::Loader => *byte == b':' || byte.is_ascii_whitespace(),
        })
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Vec<(WayKind, String)> {
        let ways = of_variables([(name.as_bytes(), value.as_bytes())], &[b"/ours"]);
        let plain = |way: Way| (way.kind, way.value.to_string());
        ways.into_iter().map(plain).collect()
    }

    #[test]
    fn each_library_and_folder_is_a_way_of_its_own() {
        let preload = |path: &str| (WayKind::Preload, path.to_owned());
        assert_eq!(
            of("LD_PRELOAD", "/a.so b.so:/c.so"),
            [preload("/a.so"), preload("/c.so"), preload("b.so")]
        );
        let search = |path: &str| (WayKind::Search, path.to_owned());
        assert_eq!(of("PYTHONPATH", "/ours:/b::"), [search("/b")]);
        assert_eq!(of("HOME", "/root"), []);
        assert_eq!(of("LD_PRELOAD", ""), []);
    }

    #[test]
    fn the_system_s_list_is_read_without_its_comments() {
        let ways = of_system(b"# libx.so\n/lib/a.so /lib/b.so # c\n");
        let names: Vec<_> = ways.iter().map(|way| way.value.as_str()).collect();
        assert_eq!(names, ["/lib/a.so", "/lib/b.so"]);
    }
}

//! What a callable of Python does to the machine, by its full name.
//!
//! A table of mechanisms, not of attacks: commands, code, native libraries, the network, files, the process, and names
//! reached by walking. What is not here does none of these by itself as far as anybody knows, which is not praise.

use domain::scan::Rule;

/// How a name in the table is matched.
const TABLE: &[(&str, Rule)] = &[
    // Commands.
    ("os.system", Rule::RunsCommand),
    ("os.popen", Rule::RunsCommand),
    ("os.exec*", Rule::RunsCommand),
    ("os.spawn*", Rule::RunsCommand),
    ("os.posix_spawn*", Rule::RunsCommand),
    ("os.startfile", Rule::RunsCommand),
    ("posix.system", Rule::RunsCommand),
    ("posix.popen", Rule::RunsCommand),
    ("posix.exec*", Rule::RunsCommand),
    ("nt.system", Rule::RunsCommand),
    ("pty.spawn", Rule::RunsCommand),
    ("subprocess.run", Rule::RunsCommand),
    ("subprocess.Popen", Rule::RunsCommand),
    ("subprocess.call", Rule::RunsCommand),
    ("subprocess.check_*", Rule::RunsCommand),
    ("subprocess.getoutput", Rule::RunsCommand),
    ("subprocess.getstatusoutput", Rule::RunsCommand),
    ("_posixsubprocess.*", Rule::RunsCommand),
    ("asyncio.create_subprocess_*", Rule::RunsCommand),
    ("asyncio.subprocess.*", Rule::RunsCommand),
    ("commands.*", Rule::RunsCommand),
    ("popen2.*", Rule::RunsCommand),
    ("pexpect.*", Rule::RunsCommand),
    ("sh.*", Rule::RunsCommand),
    ("invoke.run", Rule::RunsCommand),
    ("distutils.spawn.spawn", Rule::RunsCommand),
    ("platform.popen", Rule::RunsCommand),
    ("torch.utils.collect_env.run*", Rule::RunsCommand),
    ("pip.main", Rule::RunsCommand),
    ("pip._internal.*", Rule::RunsCommand),
    ("webbrowser.*", Rule::RunsCommand),
    ("antigravity", Rule::RunsCommand),
    // Code.
    ("builtins.exec", Rule::RunsCode),
    ("builtins.eval", Rule::RunsCode),
    ("builtins.execfile", Rule::RunsCode),
    ("runpy.*", Rule::RunsCode),
    ("code.Interactive*", Rule::RunsCode),
    ("code.interact", Rule::RunsCode),
    ("types.FunctionType", Rule::RunsCode),
    ("types.CodeType", Rule::RunsCode),
    ("marshal.load*", Rule::RunsCode),
    ("timeit.*", Rule::RunsCode),
    ("cProfile.run*", Rule::RunsCode),
    ("profile.run*", Rule::RunsCode),
    ("bdb.*", Rule::RunsCode),
    ("pdb.*", Rule::RunsCode),
    ("trace.Trace*", Rule::RunsCode),
    ("doctest.*", Rule::RunsCode),
    ("pandas.eval", Rule::RunsCode),
    ("numexpr.evaluate", Rule::RunsCode),
    ("numpy.testing._private.utils.runstring", Rule::RunsCode),
    ("pyarmor_runtime*", Rule::RunsCode),
    ("pytransform*", Rule::RunsCode),
    ("builtins.__pyarmor__", Rule::RunsCode),
    // Modules by name.
    ("importlib.*", Rule::ImportsCode),
    ("imp.load_*", Rule::ImportsCode),
    ("builtins.__import__", Rule::ImportsCode),
    ("pkgutil.*", Rule::ImportsCode),
    ("zipimport.*", Rule::ImportsCode),
    ("hydra.utils.*", Rule::ImportsCode),
    ("pydoc.locate", Rule::ImportsCode),
    ("pydoc.safeimport", Rule::ImportsCode),
    // Native libraries.
    ("ctypes.*", Rule::LoadsNative),
    ("cffi.*", Rule::LoadsNative),
    ("numpy.ctypeslib.*", Rule::LoadsNative),
    ("torch.ops.load_library", Rule::LoadsNative),
    ("torch.classes.load_library", Rule::LoadsNative),
    ("torch.utils.cpp_extension.load*", Rule::LoadsNative),
    ("tensorflow.load_library", Rule::LoadsNative),
    ("tensorflow.load_op_library", Rule::LoadsNative),
    // The network.
    ("socket.*", Rule::OpensNetwork),
    ("_socket.*", Rule::OpensNetwork),
    ("socketserver.*", Rule::OpensNetwork),
    ("urllib.request.*", Rule::OpensNetwork),
    ("urllib2.*", Rule::OpensNetwork),
    ("urllib3.*", Rule::OpensNetwork),
    ("http.client.*", Rule::OpensNetwork),
    ("http.server.*", Rule::OpensNetwork),
    ("requests.*", Rule::OpensNetwork),
    ("httpx.*", Rule::OpensNetwork),
    ("aiohttp.*", Rule::OpensNetwork),
    ("ftplib.*", Rule::OpensNetwork),
    ("smtplib.*", Rule::OpensNetwork),
    ("telnetlib.*", Rule::OpensNetwork),
    ("poplib.*", Rule::OpensNetwork),
    ("imaplib.*", Rule::OpensNetwork),
    ("xmlrpc.*", Rule::OpensNetwork),
    ("paramiko.*", Rule::OpensNetwork),
    ("websocket*", Rule::OpensNetwork),
    ("asyncio.open_connection", Rule::OpensNetwork),
    ("asyncio.start_server", Rule::OpensNetwork),
    ("wget.*", Rule::OpensNetwork),
    ("torch.hub.load_state_dict_from_url", Rule::OpensNetwork),
    ("torch.hub.download_url_to_file", Rule::OpensNetwork),
    ("logging.handlers.*", Rule::OpensNetwork),
    // Data that is code, and programs that are data.
    ("torch.hub.load", Rule::LoadsMore),
    ("torch.load", Rule::LoadsMore),
    ("torch.jit.load", Rule::LoadsMore),
    ("torch.package.*", Rule::LoadsMore),
    ("pickle.load*", Rule::LoadsMore),
    ("pickle.Unpickler", Rule::LoadsMore),
    ("_pickle.load*", Rule::LoadsMore),
    ("cPickle.load*", Rule::LoadsMore),
    ("dill.load*", Rule::LoadsMore),
    ("cloudpickle.load*", Rule::LoadsMore),
    ("joblib.load", Rule::LoadsMore),
    ("shelve.open", Rule::LoadsMore),
    ("pandas.read_pickle", Rule::LoadsMore),
    ("numpy.load", Rule::LoadsMore),
    ("yaml.load", Rule::LoadsMore),
    ("yaml.unsafe_load*", Rule::LoadsMore),
    ("yaml.full_load*", Rule::LoadsMore),
    // Files.
    ("os.remove", Rule::TouchesFiles),
    ("os.unlink", Rule::TouchesFiles),
    ("os.removedirs", Rule::TouchesFiles),
    ("os.rmdir", Rule::TouchesFiles),
    ("os.rename*", Rule::TouchesFiles),
    ("os.replace", Rule::TouchesFiles),
    ("os.chmod", Rule::TouchesFiles),
    ("os.chown", Rule::TouchesFiles),
    ("os.symlink", Rule::TouchesFiles),
    ("os.link", Rule::TouchesFiles),
    ("os.truncate", Rule::TouchesFiles),
    ("shutil.*", Rule::TouchesFiles),
    ("logging.FileHandler", Rule::TouchesFiles),
    // The process.
    ("os._exit", Rule::DisturbsProcess),
    ("os.abort", Rule::DisturbsProcess),
    ("os.kill*", Rule::DisturbsProcess),
    ("os.fork*", Rule::DisturbsProcess),
    ("os.setuid", Rule::DisturbsProcess),
    ("signal.*", Rule::DisturbsProcess),
    ("sys.settrace", Rule::DisturbsProcess),
    ("sys.setprofile", Rule::DisturbsProcess),
    ("sys.addaudithook", Rule::DisturbsProcess),
    ("faulthandler.*", Rule::DisturbsProcess),
    // Walking.
    ("operator.attrgetter", Rule::ResolvesAttributes),
    ("operator.methodcaller", Rule::ResolvesAttributes),
    ("_operator.attrgetter", Rule::ResolvesAttributes),
    ("_operator.methodcaller", Rule::ResolvesAttributes),
    ("inspect.currentframe", Rule::ResolvesAttributes),
    ("sys._getframe", Rule::ResolvesAttributes),
    ("gc.get_objects", Rule::ResolvesAttributes),
];

/// Names in these modules that only describe or wait.
const HARMLESS: &[&str] = &[
    "importlib.metadata*",
    "importlib.resources*",
    "importlib.util.find_spec",
    "importlib.reload",
    "ctypes.c_*",
    "ctypes.sizeof",
    "ctypes.POINTER",
    "ctypes.Structure",
    "ctypes.byref",
    "ctypes.pointer",
    "socket.gethostname",
    "socket.getfqdn",
    "socket.timeout",
    "socket.error",
    "requests.exceptions*",
    "requests.Session",
    "requests.adapters*",
    "requests.utils*",
    "urllib.request.Request",
    "urllib3.disable_warnings",
    "urllib3.exceptions*",
    "shutil.which",
    "shutil.get_terminal_size",
    "shutil.disk_usage",
    "signal.SIG*",
    "pkgutil.get_data",
    "pkgutil.iter_modules",
    "pkgutil.extend_path",
    "timeit.default_timer",
    "pdb.set_trace",
    "pickle.loads.__doc__",
    "aiohttp.Client*Error",
    "httpx.*Error",
    "sh.ErrorReturnCode",
];

/// What calling `path` does; calls in it are written `f()`, so that what is made by a call is known by it.
pub(crate) fn effect(path: &str) -> Option<Rule> {
    if HARMLESS.iter().any(|pattern| matches(pattern, path)) {
        return None;
    }
    let found = TABLE.iter().find(|(pattern, _)| matches(pattern, path));
    found.map(|(_, rule)| *rule)
}

/// A pattern is a name that may end with `*`; what is reached through the name belongs to it.
fn matches(pattern: &str, path: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*') {
        return path.starts_with(prefix);
    }
    path.strip_prefix(pattern)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '(']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_through_a_name_belongs_to_it() {
        assert_eq!(effect("os.system"), Some(Rule::RunsCommand));
        assert_eq!(effect("os.execvp"), Some(Rule::RunsCommand));
        assert_eq!(effect("socket.socket().connect"), Some(Rule::OpensNetwork));
        assert_eq!(effect("os.path.join"), None);
        assert_eq!(effect("torch.loader"), None);
        assert_eq!(effect("ctypes.c_int"), None);
    }
}

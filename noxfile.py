"""Sessions for developers and for continuous integration: `nox -s tests | recipe | e2e | lint | build | docs | parity`.

Environments are made with uv where it is installed and with virtualenv and pip where it is not. Which torch goes in is
one setting, the environment variable `TORCH`: `cpu` (the default) or `cuda` (the build that fits the machine's driver).
"""

import os
import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
PACKAGES = {
    "olmo-model": "olmo_model",
    "dolma-data": "dolma_data",
    "catwalk-eval": "catwalk_eval",
    "paloma-ppl": "paloma_ppl",
}
CHECKER = [
    "fastjsonschema", "jsonschema", "numpy", "orjson", "pyyaml", "regex", "safetensors", "tokenizers", "torch",
    "transformers", "zstandard",
]  # fmt: skip
REPORT = ["jinja2", "numpy", "pyyaml", "zstandard"]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

nox.needs_version = ">=2024.3"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True


def prepare(session: nox.Session) -> None:
    """Tell uv where pip finds local wheels, and which torch is wanted."""
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", "")
    if links:
        session.env["UV_FIND_LINKS"] = links
    variant = os.environ.get("TORCH", "cpu")
    if variant not in ("cpu", "cuda"):
        session.error(f"TORCH={variant} is not known; set it to cpu or cuda")
    local_torch = any(next(Path(link).glob("torch-*.whl"), None) for link in links.split() if Path(link).is_dir())
    if local_torch and variant == "cuda":
        session.error("TORCH=cuda, but PIP_FIND_LINKS or UV_FIND_LINKS holds a torch of its own; unset it")
    if not local_torch:
        session.env["UV_TORCH_BACKEND"] = "cpu" if variant == "cpu" else "auto"
        if session.venv_backend != "uv":
            session.warn(
                f"TORCH={variant} needs uv; with pip the package index decides which torch comes (pip install uv)"
            )
    session.env["PYTHONHASHSEED"] = "0"
    session.env["PYTHONDONTWRITEBYTECODE"] = ""  # compiling torch and its kin anew for every command takes seconds


def install(session: nox.Session, *requirements: str) -> None:
    """Install what is named, in the versions that are tested together."""
    prepare(session)
    session.install("-c", str(ROOT / "constraints.txt"), *requirements)


def editable(*names: str, extras: str = "") -> list[str]:
    """Install arguments for packages of this workspace."""
    return [argument for name in names for argument in ("-e", f"{ROOT / 'packages' / name}{extras}")]


@nox.session
@nox.parametrize("package", [nox.param(name, id=name) for name in (*PACKAGES, "tools")])
def tests(session: nox.Session, package: str) -> None:
    """Test each package in an environment that holds it and its test dependencies alone, on as many processes as the
    machine has cores (at most four; `-- -n 0` for one)."""
    if package == "tools":
        install_everything(session)
        install(session, "pytest")
        arguments = [str(ROOT / "tools" / "tests")]
    else:
        install(session, *editable(package, extras="[test]"))
        arguments = [str(ROOT / "packages" / package / "tests"), "-n", str(min(CORES, 4))]
    session.run("python", "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *arguments, *session.posargs)


def install_everything(session: nox.Session) -> None:
    install(session, *editable(*PACKAGES), *dict.fromkeys([*CHECKER, *REPORT]))


@nox.session
def recipe(session: nox.Session) -> None:
    """The main job: from raw text to a trained and evaluated model, with a report."""
    install_everything(session)
    arguments = session.posargs or ["--output", str(ROOT / "recipe-output")]
    session.run("python", str(ROOT / "tools" / "recipe.py"), "recipes/quickstart.yaml", *arguments)


@nox.session
def e2e(session: nox.Session) -> None:
    """The whole road on a small slice, and the artifact checker over everything it made."""
    install_everything(session)
    output = Path(session.create_tmp()) / "road"
    shutil.rmtree(output, ignore_errors=True)
    session.run("python", str(ROOT / "tools" / "recipe.py"), "recipes/slice.yaml", "--output", str(output))
    session.run("python", str(ROOT / "tools" / "check_artifacts.py"), str(output))


@nox.session
def check(session: nox.Session) -> None:
    """Verify artifacts: `nox -s check -- DIR`."""
    install(session, *CHECKER)
    session.run("python", str(ROOT / "tools" / "check_artifacts.py"), *(session.posargs or ["recipe-output"]))


def peer(session: nox.Session, name: str, *requirements: str, versions: str | None = None) -> Path:
    """An environment of its own for another tool; returns its Python. ``versions`` are those of Python it runs on."""
    folder = Path(session.create_tmp()) / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    if not ready.exists():
        if session.venv_backend != "uv":
            session.error("the other tools install with uv alone: pip does not come to an end (pip install uv)")
        shutil.rmtree(folder, ignore_errors=True)
        chosen = ["--python", versions] if versions else []
        session.run("uv", "venv", "--quiet", *chosen, str(folder), external=True)
        session.run("uv", "pip", "install", "--quiet", "--python", str(python), *requirements, external=True)
        ready.touch()
    return python


def ai2_olmo(session: nox.Session) -> Path:
    """ai2-olmo's Python. Its training needs three packages that it leaves to an extra, which brings a hundred more."""
    return peer(
        session, "ai2-olmo", "ai2-olmo==0.6.0", "numpy<2", "pyarrow<18", "datasets<3.3", "transformers<4.50",
        pinned("torch"), "safetensors", "scikit-learn", "torchmetrics", "wandb", versions=">=3.10,<3.13",
    )  # fmt: skip


def pinned(name: str) -> str:
    """The requirement of constraints.txt for a package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


@nox.session
def bench(session: nox.Session) -> None:
    """Benchmarks against other tools: `nox -s bench -- dolma|generate|train|eval|ppl [JOB …]`; three need DATA_DIR."""
    suite, *arguments = session.posargs or ["dolma"]
    if suite == "generate":
        install(session, *editable("olmo-model"), "transformers")
        session.run("python", "tools/bench.py", suite, *arguments)
        return
    if suite == "train":
        install(session, *editable("olmo-model"), "transformers")
        session.run("python", "tools/bench.py", suite, *arguments, "--ai2-olmo", str(ai2_olmo(session)))
        return
    if suite in ("eval", "ppl"):
        install(session, *editable("catwalk-eval" if suite == "eval" else "paloma-ppl"))
        lm_eval = peer(session, "lm-eval", "lm-eval[hf]==0.4.13", "accelerate", pinned("torch"))
        session.run("python", "tools/bench.py", suite, *arguments, "--lm-eval", str(lm_eval))
        return
    install(session, *editable("dolma-data"), "pyyaml")
    dolma = peer(session, "dolma", "dolma==1.2.1", "setuptools<81")
    datatrove = peer(session, "datatrove", "datatrove[io,processing]==0.10.1", "xxhash", "orjson", "spacy")
    session.run(
        "python", "tools/bench.py", suite, *arguments, "--dolma", str(dolma.with_name("dolma")),
        "--datatrove", str(datatrove),
    )  # fmt: skip


COMPARISONS = {
    "taggers": "parity_dolma.py",
    "steps": "parity_dolma_steps.py",
    "pipeline": "parity_dolma_pipeline.py",
    "rules": "parity_dolma_rules.py",
}


@nox.session
def parity(session: nox.Session) -> None:
    """Compare with other tools: `nox -s parity -- dolma [taggers|steps|pipeline|rules [OPTION …]]`, `… -- olmo`,
    `… -- lm-eval [TASK …]`, `… -- lm-eval-rolling`; all but olmo need DATA_DIR."""
    other, *arguments = session.posargs or ["dolma"]
    comparisons = {
        "dolma": parity_with_dolma,
        "olmo": parity_with_olmo,
        "lm-eval": parity_with_lm_eval,
        "lm-eval-rolling": parity_with_lm_eval_rolling,
    }
    if other not in comparisons:
        session.error(f"no comparison with {other!r}; say nox -s parity -- {', or -- '.join(comparisons)}")
    comparisons[other](session, arguments)


def parity_with_dolma(session: nox.Session, arguments: list[str]) -> None:
    """dolma-data and allenai/dolma, row by row."""
    if arguments and arguments[0].startswith("-"):
        arguments = ["taggers", *arguments]
    chosen, options = arguments[:1] or list(COMPARISONS), arguments[1:]
    if chosen[0] not in COMPARISONS:
        session.error(f"no comparison of {chosen[0]!r}; there are {', '.join(COMPARISONS)}")
    extras = "code,lists,sentences,cld2,langdetect,lingua,presidio"
    install(session, *editable("dolma-data", extras=f"[{extras}]"), "uniseg")
    python = peer(
        session, "dolma", "dolma[code]==1.2.1", "langdetect", "lingua-language-detector", "presidio-analyzer", "pycld2",
        "setuptools<81",
    )  # fmt: skip
    work = session.create_tmp()
    for name in chosen:
        dolma = python if name == "taggers" else python.with_name("dolma")
        more = ["--work", f"{work}/{name}"] if name in ("pipeline", "rules") else []
        session.run("python", f"tools/{COMPARISONS[name]}", "--dolma", str(dolma), *more, *options)


def parity_with_olmo(session: nox.Session, arguments: list[str]) -> None:
    """olmo-model, ai2-olmo and transformers: numbers, training, data order, checkpoints, first weights."""
    install(session, *editable("olmo-model"), "transformers")
    ai2 = ai2_olmo(session)
    newest = peer(session, "transformers", "transformers", "numpy", pinned("torch"))
    session.run(
        "python", "tools/parity_olmo.py", "--ai2", str(ai2), "--transformers", str(newest), "--work",
        f"{session.create_tmp()}/olmo", *arguments,
    )  # fmt: skip


def lm_eval(session: nox.Session) -> Path:
    """lm-evaluation-harness's Python."""
    return peer(session, "lm-eval", "lm-eval[hf]==0.4.13", pinned("torch"), versions=">=3.10,<3.14")


def parity_with_lm_eval(session: nox.Session, arguments: list[str]) -> None:
    """catwalk-eval and lm-evaluation-harness: prompts, log-probabilities, accuracies."""
    install(session, *editable("catwalk-eval"))
    session.run(
        "python", "tools/parity_lm_eval.py", "--lm-eval", str(lm_eval(session)), "--work",
        f"{session.create_tmp()}/lm-eval-parity", *arguments,
    )  # fmt: skip


def parity_with_lm_eval_rolling(session: nox.Session, arguments: list[str]) -> None:
    """paloma-ppl and lm-evaluation-harness's rolling log-likelihood."""
    install(session, *editable("paloma-ppl"))
    session.run(
        "python", "tools/parity_lm_eval_rolling.py", "--lm-eval", str(lm_eval(session)), "--work",
        f"{session.create_tmp()}/lm-eval-rolling", *arguments,
    )  # fmt: skip


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, import rules, copies of shared mechanisms, documentation."""
    install(
        session, *editable(*PACKAGES), "ruff", "mypy", "import-linter", "types-PyYAML", "types-jsonschema",
        "types-tqdm", "mkdocs", "mkdocs-material", "mkdocstrings[python]",
    )  # fmt: skip
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tools/sync_shared.py", "--check")
    session.run("lint-imports")
    session.run("mypy", *(f"packages/{name}/src" for name in PACKAGES))
    build_docs(session)


def build_docs(session: nox.Session) -> None:
    session.run(
        "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(ROOT / "site"), env={"NO_MKDOCS_2_WARNING": "1"}
    )


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, from docs/ and the docstrings, into site/."""
    install(session, "mkdocs", "mkdocs-material", "mkdocstrings[python]")
    build_docs(session)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and source distribution of each package, installed from the wheel alone; every command's help runs."""
    install(session, "build", "hatchling")
    for name, module in PACKAGES.items():
        out = Path(session.create_tmp()) / name
        shutil.rmtree(out, ignore_errors=True)
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT / "packages" / name))
        (wheel,) = out.glob("*.whl")
        clean = out / "environment"
        python = clean / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if session.venv_backend == "uv":
            session.run("uv", "venv", "--quiet", str(clean), external=True)
            session.run(
                "uv", "pip", "install", "--quiet", "--python", str(python), "-c", "constraints.txt", str(wheel),
                external=True,
            )  # fmt: skip
        else:
            session.run("python", "-m", "venv", str(clean))
            session.run(
                str(python), "-m", "pip", "install", "--quiet", "-c", "constraints.txt", str(wheel), external=True
            )
        session.run(str(python), "tools/help_of_every_command.py", name, module, external=True)

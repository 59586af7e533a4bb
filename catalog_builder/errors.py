"""The one tree of errors. Each message is one line that names the file and the value, and says what to do.

CatalogBuilderError          exit code 1 unless said otherwise
├── UsageError               the command line, or a folder it names, cannot be used (exit code 2)
│   ├── TemplateError        a template under ``stac/`` is not what the builder needs
│   └── SourcesError         ``sources.toml`` is not what the builder needs
│       └── MissingFileError  a file that it names is not there; other areas can be built
├── RasterError              a raster cannot be read, or is not what its modality promises
├── ReleaseError             the release folder cannot be read or written, or is in use
├── RemoteError              a bucket or a web server cannot be read or written
│   ├── ChangedError         it was replaced while it was read
│   └── DamagedError         bytes are not those that a manifest vouches for
└── BuildError               the work as a whole failed
"""


class CatalogBuilderError(Exception):
    """Root of all errors that are meant for the user."""

    exit_code = 1

    def __str__(self) -> str:
        # What is quoted (a parser's words, a file's name) may hold line breaks.
        return " ".join(super().__str__().splitlines())


class UsageError(CatalogBuilderError):
    """The command line, or a folder that it names, cannot be used."""

    exit_code = 2


class TemplateError(UsageError):
    """A template is not what the builder needs."""


class SourcesError(UsageError):
    """``sources.toml`` is not what the builder needs."""


class MissingFileError(SourcesError):
    """A file that ``sources.toml`` names is not there; other areas can be built."""


class RasterError(CatalogBuilderError):
    """A raster cannot be read, or is not what its modality promises."""


class ReleaseError(CatalogBuilderError):
    """The release folder cannot be read or written, or another build holds it."""


class RemoteError(CatalogBuilderError):
    """A bucket or a web server cannot be read or written."""


class DamagedError(RemoteError):
    """Bytes are not those that a manifest vouches for."""


class ChangedError(RemoteError):
    """What is read was replaced meanwhile."""


class BuildError(CatalogBuilderError):
    """The work as a whole failed."""

"""Messages of datasets.proto; types in the generated stub beside this file."""

from wintergarden.wire.pool import module_members

globals().update(module_members("datasets.proto"))

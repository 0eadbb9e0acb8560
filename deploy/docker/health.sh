#!/bin/sh
# Whether the server answers SERVING to gRPC's standard health check; exit 0 if so, 1 if not.
set -eu
exec "$(dirname "$0")/steersman" health --server "${STEERSMAN_HEALTH_TARGET:-127.0.0.1:50051}"

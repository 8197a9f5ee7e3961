// cert-manager's answerer of a challenge, measured beside ours.
module acme-operator/tools/acmesolver

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.1
	github.com/go-logr/logr v1.4.3
)

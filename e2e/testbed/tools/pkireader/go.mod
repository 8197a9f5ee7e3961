// Reads keys, CSRs and key stores in tests, as users' programs do.
module acme-operator/tools/pkireader

go 1.26.0

require (
	github.com/pavlo-v-chernykh/keystore-go/v4 v4.5.0
	software.sslmate.com/src/go-pkcs12 v0.7.1
)

require golang.org/x/crypto v0.11.0 // indirect

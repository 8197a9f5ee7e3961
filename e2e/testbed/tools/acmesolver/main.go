// cert-manager's answerer of one challenge, which runs in a Pod of its own. Its own program lies in a module that no
// proxy serves.
package main

import (
	"flag"
	"log"

	"github.com/go-logr/logr"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/http/solver"
)

func main() {
	var it solver.HTTP01Solver
	flag.IntVar(&it.ListenPort, "listen-port", 8089, "where it listens")
	flag.StringVar(&it.Domain, "domain", "", "the name that is validated")
	flag.StringVar(&it.Token, "token", "", "the token of the challenge")
	flag.StringVar(&it.Key, "key", "", "the key authorization, RFC 8555 section 8.1")
	flag.Parse()
	log.Fatal(it.Listen(logr.Discard()))
}

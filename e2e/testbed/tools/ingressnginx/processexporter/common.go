// Package common has what ingress-nginx uses of process-exporter.
package common

import "fmt"

// ProcAttributes are what a process is selected by.
type ProcAttributes struct {
	Cmdline []string
}

// MatchNamer selects processes, and names their group.
type MatchNamer interface {
	MatchAndName(ProcAttributes) (bool, string)
	fmt.Stringer
}

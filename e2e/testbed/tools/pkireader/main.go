// Reads what the operator writes, with the libraries that its users' programs are written with: Go's own, and the two
// that cert-manager makes key stores by. For tests.
//
// Usage: pkireader KIND [PASSWORD] <FILE
//
// KIND is key, csr, pkcs12 or jks. Prints what was read; exits with 1 if nothing could be. With encode, it reads a PKCS#12 key
// store, and prints it as cert-manager would write it: each profile, and jks, with its content in Base64.
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: pkireader KIND [PASSWORD] <FILE"))
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	password := strings.Join(os.Args[2:], " ")
	said, err := read(os.Args[1], password, input)
	if err != nil {
		fail(err)
	}
	fmt.Println(said)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func read(kind, password string, input []byte) (string, error) {
	switch kind {
	case "key":
		block, rest := pem.Decode(input)
		if block == nil || len(rest) > 0 {
			return "", fmt.Errorf("not one PEM block")
		}
		key, err := parseKey(block)
		if err != nil {
			return "", err
		}
		return describe(key), nil
	case "csr":
		block, _ := pem.Decode(input)
		if block == nil {
			return "", fmt.Errorf("no PEM block")
		}
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return "", err
		}
		if err := request.CheckSignature(); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s subject=%q dns=%v ip=%v uri=%v email=%v", request.SignatureAlgorithm, request.Subject.String(),
			request.DNSNames, request.IPAddresses, request.URIs, request.EmailAddresses), nil
	case "pkcs12":
		key, leaf, rest, err := pkcs12.DecodeChain(input, password)
		if err != nil {
			return "", err
		}
		return matched(key, leaf, len(rest))
	case "truststore":
		trusted, err := pkcs12.DecodeTrustStore(input, password)
		var names []string
		for _, certificate := range trusted {
			names = append(names, certificate.Subject.String())
		}
		return strings.Join(names, " "), err
	case "jks":
		store := keystore.New()
		if err := store.Load(bytes.NewReader(input), []byte(password)); err != nil {
			return "", err
		}
		aliases := store.Aliases()
		if len(aliases) != 1 {
			return "", fmt.Errorf("%d aliases", len(aliases))
		}
		entry, err := store.GetPrivateKeyEntry(aliases[0], []byte(password))
		if err != nil {
			return "", err
		}
		key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey)
		if err != nil {
			return "", err
		}
		leaf, err := x509.ParseCertificate(entry.CertificateChain[0].Content)
		if err != nil {
			return "", err
		}
		said, err := matched(key, leaf, len(entry.CertificateChain)-1)
		return aliases[0] + ": " + said, err
	case "encode":
		key, leaf, rest, err := pkcs12.DecodeChain(input, password)
		if err != nil {
			return "", err
		}
		return encode(key, append([]*x509.Certificate{leaf}, rest...), password)
	}
	return "", fmt.Errorf("no kind %q", kind)
}

func encode(key any, chain []*x509.Certificate, password string) (string, error) {
	var lines []string
	add := func(name string, store []byte) {
		lines = append(lines, name+" "+base64.StdEncoding.EncodeToString(store))
	}
	encoders := map[string]*pkcs12.Encoder{
		"LegacyDES": pkcs12.LegacyDES, "LegacyRC2": pkcs12.LegacyRC2,
		"Modern2023": pkcs12.Modern2023, "Modern2026": pkcs12.Modern2026,
	}
	for name, encoder := range encoders {
		store, err := encoder.Encode(key, chain[0], chain[1:], password)
		if err != nil {
			return "", err
		}
		add(name, store)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	entry := keystore.PrivateKeyEntry{CreationTime: chain[0].NotBefore, PrivateKey: der}
	for _, certificate := range chain {
		entry.CertificateChain = append(entry.CertificateChain, keystore.Certificate{Type: "X509", Content: certificate.Raw})
	}
	store := keystore.New()
	if err := store.SetPrivateKeyEntry("certificate", entry, []byte(password)); err != nil {
		return "", err
	}
	var buffer bytes.Buffer
	if err := store.Store(&buffer, []byte(password)); err != nil {
		return "", err
	}
	add("jks", buffer.Bytes())
	return strings.Join(lines, "\n"), nil
}

func parseKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	return nil, fmt.Errorf("unknown PEM block %q", block.Type)
}

func describe(key any) string {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PrivateKey:
		return "ECDSA " + key.Params().Name
	case ed25519.PrivateKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}

// Whether a leaf is for a key.
func matched(key any, leaf *x509.Certificate, others int) (string, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return "", fmt.Errorf("%T can't sign", key)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return "", fmt.Errorf("the leaf is not for the key")
	}
	return fmt.Sprintf("%s dns=%v and %d more", describe(key), leaf.DNSNames, others), nil
}

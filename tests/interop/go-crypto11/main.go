// SPDX-License-Identifier: Apache-2.0

// Run by go-crypto11.sh as: main MODULE TOKEN AUTHORITY
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/ThalesIgnite/crypto11"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func require(holds bool, text string) {
	if !holds {
		panic(text)
	}
}

func find(context *crypto11.Context, label string) crypto11.Signer {
	signer, err := context.FindKeyPair(nil, []byte(label))
	check(err)
	require(signer != nil, "no key "+label)
	return signer
}

func signRSA(signer crypto11.Signer, digest []byte) {
	public := signer.Public().(*rsa.PublicKey)
	signature, err := signer.Sign(rand.Reader, digest, crypto.SHA256)
	check(err)
	check(rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, signature))
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	signature, err = signer.Sign(rand.Reader, digest, pss)
	check(err)
	check(rsa.VerifyPSS(public, crypto.SHA256, digest, signature, pss))
}

func signEC(signer crypto11.Signer, digest []byte) {
	signature, err := signer.Sign(rand.Reader, digest, crypto.SHA256)
	check(err)
	require(ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest, signature), "ECDSA")
}

func decrypt(signer crypto11.Signer) {
	public, text := signer.Public().(*rsa.PublicKey), []byte("secret")
	box, err := rsa.EncryptPKCS1v15(rand.Reader, public, text)
	check(err)
	opened, err := signer.(crypto.Decrypter).Decrypt(rand.Reader, box, &rsa.PKCS1v15DecryptOptions{})
	check(err)
	require(bytes.Equal(opened, text), "PKCS#1")
	box, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, public, text, []byte("label"))
	check(err)
	opened, err = signer.(crypto.Decrypter).Decrypt(rand.Reader, box, &rsa.OAEPOptions{Hash: crypto.SHA256, Label: []byte("label")})
	check(err)
	require(bytes.Equal(opened, text), "OAEP")
}

// Every connection is a server and a client that both have the certificate, with keys in the token.
func connect(certificate tls.Certificate, authorities *x509.CertPool, version uint16) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAnyClientCert,
		MaxVersion:   version,
	})
	check(err)
	defer listener.Close()
	served := make(chan error)
	go func() {
		connection, err := listener.Accept()
		if err == nil {
			_, err = connection.Write([]byte("hello"))
			connection.Close()
		}
		served <- err
	}()
	connection, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{
		Certificates: []tls.Certificate{certificate},
		RootCAs:      authorities,
		ServerName:   "localhost",
		MinVersion:   version,
		MaxVersion:   version,
	})
	check(err)
	answer, err := io.ReadAll(connection)
	check(err)
	check(<-served)
	require(string(answer) == "hello", "TLS")
}

func main() {
	context, err := crypto11.Configure(&crypto11.Config{Path: os.Args[1], TokenLabel: os.Args[2]})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer context.Close()
	pairs, err := context.FindAllKeyPairs()
	check(err)
	require(len(pairs) == 2, "two keys")
	digest := sha256.Sum256([]byte("hello"))
	rsaKey, ecKey := find(context, "rsa2048"), find(context, "p256")
	signRSA(rsaKey, digest[:])
	signEC(ecKey, digest[:])
	decrypt(rsaKey)
	var workers sync.WaitGroup
	for i := 0; i < 16; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for j := 0; j < 20; j++ {
				signRSA(rsaKey, digest[:])
				signEC(ecKey, digest[:])
			}
		}()
	}
	workers.Wait()

	pem, err := os.ReadFile(os.Args[3])
	check(err)
	authorities := x509.NewCertPool()
	require(authorities.AppendCertsFromPEM(pem), "an authority")
	certificates, err := context.FindAllPairedCertificates()
	check(err)
	require(len(certificates) == 2, "two certificates")
	for _, certificate := range certificates {
		connect(certificate, authorities, tls.VersionTLS12)
		connect(certificate, authorities, tls.VersionTLS13)
	}
	random, err := context.NewRandomReader()
	check(err)
	_, err = io.ReadFull(random, make([]byte, 32))
	check(err)
	nothing, err := context.FindKeyPair(nil, []byte("nosuch"))
	require(nothing == nil && err == nil, "a key that is not there")
}
